"""When the byte table gives exactly the bytes of a text that is not at hand, proved from tokenizer and tokens alone.

**Theorem.** Let a document's tokens be the pieces that SentencePiece cut its normalized text into, behind a BOS.
`ByteTable` counts exactly the UTF-8 bytes of that text, U+2581 written as a space and the dummy space left out, if
1. no token is unknown, user-defined, beyond the vocabulary or a control piece other than BOS and EOS,
2. no piece among them has U+2581 behind its first character, and the model marks spaces with U+2581, before the word,
3. no three byte pieces in a row spell U+2581, as they do where the vocabulary lacks a piece of a lone space,
4. no document begins with U+2581, unless the model puts a dummy space there.

*Proof.* The surfaces of the tokens, joined, are the normalized text, so it is enough to compare token by token. A byte
piece stands for one byte of a character that no piece holds; by 3 that is not a space, whose one byte is written as
three. Any other piece is, by 1, its own surface; by 2 at most its first character is a space, which takes one byte, as
the table counts, and all others take their UTF-8 length. After a BOS the table leaves the space out: by 4 it is the
dummy, which is no text. BOS and EOS count nothing and stand for nothing. ∎

It is a theorem about the normalized text. It counts the raw text's bytes only if normalization keeps their number; what
it took cannot be known without the raw text. With the library's own rules that is little in prose (97 of 1,489,515
bytes in 200 FineWeb documents), with rules that somebody wrote it can be anything, so those are not accepted. Nor is a
text with private-use characters, in pieces or in bytes: it may have been rewritten (`pgolf.corpus.private_use`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgolf.corpus.byte_lengths import SPACE, ByteTable
from pgolf.corpus.byte_shards import check_byte_shards
from pgolf.corpus.model_file import read_model
from pgolf.corpus.model_proto import ModelSettings
from pgolf.corpus.piece_text import piece_text
from pgolf.corpus.private_use import about, private_use, spelled_private_use
from pgolf.corpus.shards import Tokens, read_shard

NORMALIZATIONS = frozenset({"identity", "nfkc", "nfkc_cf", "nmt_nfkc", "nmt_nfkc_cf"})

_BLOCK_TOKENS = 1 << 22
_IDS = 1 << 16


def unverified(model: Path, val: Sequence[Path], val_bytes: Sequence[Path]) -> str:
    """Why the bytes counted for tokens without their text are not certain; empty where they are.

    val_bytes: byte shards that come with the val shards, or none. Raises TokenizerError, or ShardError for a file that
    cannot be read and for byte shards that cannot be those of the tokens.
    """
    check_byte_shards(val, val_bytes)
    if val_bytes:
        return "they come with the tokens, and there is no text to compare them with"
    return unproved(model, val)


def unproved(model: Path, shards: Sequence[Path]) -> str:
    """Why the table of a tokenizer need not give the bytes of these shards' text; empty where it must.

    Raises TokenizerError or ShardError for a file that cannot be read.
    """
    processor = read_model(model)
    settings = ModelSettings.read(model)
    table = ByteTable.from_processor(processor, _IDS)
    byte_of = np.full(_IDS, -1, np.int16)
    for token in range(len(processor)):
        if processor.is_byte(token):
            (byte_of[token],) = piece_text(processor, token)
    if read_shard(shards[0])[0] != processor.bos_id():
        return "the tokens do not begin with a BOS, so it is not known where documents begin"
    used = np.zeros(_IDS, np.int64)
    leading = spelled = 0
    signs: Counter[str] = Counter()
    for block, before in _blocks(shards):
        used += np.bincount(block[before:], minlength=_IDS)
        marked = table.leading_space[block[1:]] & table.boundary[block[:-1]]
        leading += int(marked[max(before - 1, 0) :].sum())
        spelled += _spelled(byte_of[block], before)
        signs += spelled_private_use(byte_of[block], before)
    if settings.normalization not in NORMALIZATIONS:
        return f"the tokenizer normalizes by rules of its own ({settings.normalization!r}), whose effect is not known"
    if settings.suffix:
        return "the tokenizer puts the space behind the word"
    ends = {processor.bos_id(), processor.eos_id()}
    for token in np.flatnonzero(used).tolist():
        if token >= len(processor):
            return f"{used[token]:,} tokens have id {token}, the tokenizer's last is {len(processor) - 1}"
        piece = processor.id_to_piece(token)
        signs.update({sign: int(n * used[token]) for sign, n in private_use(piece).items()})
        named = f"piece {token} {piece!r} ({used[token]:,} times)"
        if processor.is_unknown(token):
            return f"{named} stands for text that is not known"
        if token in settings.user_defined:
            return f"{named} is user-defined and may stand for no text"
        if processor.is_control(token) or processor.is_unused(token):
            if token not in ends:
                return f"{named} stands for no text, and what follows it counts as a document's start"
        elif SPACE in piece[1:]:
            return f"{named} holds a space behind its first character, counted as 3 bytes"
        elif SPACE in piece and not settings.space_mark:
            return f"{named} begins with a character that is no space in this tokenizer"
    if spelled:
        return f"{spelled:,} spaces are spelled in three byte pieces: the tokenizer has no piece of a lone space"
    if leading and not settings.dummy_prefix:
        return f"{leading:,} documents begin with a space, which counts no byte"
    return about(signs, int(used.sum()))


def _blocks(shards: Sequence[Path]) -> Iterator[tuple[Tokens, int]]:
    """The stream in blocks, each with up to 3 tokens before it, and how many these are."""
    last = np.empty(0, np.uint16)
    for path in shards:
        tokens = read_shard(path)
        for start in range(0, tokens.size, _BLOCK_TOKENS):
            block = np.concatenate([last, tokens[start : start + _BLOCK_TOKENS]])
            yield block, last.size
            last = block[-3:]


def _spelled(byte_T: npt.NDArray[np.int16], before: int) -> int:
    """How many spaces end behind the first `before` tokens, each spelled in three byte pieces."""
    first, second, third = SPACE.encode()
    found = (byte_T[:-2] == first) & (byte_T[1:-1] == second) & (byte_T[2:] == third)
    return int(found[max(before - 2, 0) :].sum())
