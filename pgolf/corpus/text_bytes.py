"""Bytes of documents' text behind each of their tokens, measured in the text itself.

The byte table (`pgolf.corpus.byte_lengths`) knows pieces, not text: it is off where a piece holds several spaces or a
space behind its first character, where a space is spelled in bytes, where a document begins with a space, and wherever
normalization changes the number of bytes. So every document is compared with it; one where it is off gets its bytes
from the normalizer's offsets. Its tokens spell the normalized text, byte for byte, and the normalizer tells where in
the text each of those bytes comes from: a token has the bytes from the end of the token before it up to its own end,
the last one up to the end of the text. They sum to the document's UTF-8 bytes, whatever normalization drops. The
encoder's own offsets would not do: it gives a whole word that it spells in bytes to the last of them.

Errors of the table may cancel within a document, and a window may cut them apart. So it is compared for every cut: it
holds where the tokens decode to the text with each character written in as many bytes (a newline as a space), since
the tokens up to any place then hold the text up to there. Otherwise the offsets judge. Only inside a character that
several tokens share may the two differ.

T: tokens, each document's BOS included. BOS has no bytes, unless its document has no other token.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sentencepiece

from pgolf.corpus.byte_lengths import SPACE, ByteTable
from pgolf.corpus.piece_text import piece_text
from pgolf.errors import DocumentError, TokenizerError

Ids = npt.NDArray[np.int32]

# What one token can stand for in a shard. Only a run of characters that normalization drops is longer.
MAX_TOKEN_BYTES = np.iinfo(np.uint16).max


@dataclass(slots=True, kw_only=True)
class TextCount:
    """What was found in some documents. text_bytes: UTF-8. kept_bytes: of the text that their tokens decode to.

    table_bytes: by the byte table. docs_off: documents of which the table does not give the bytes of the text, up to
    some token or, where `TextBytes.compare` looked, in all.
    docs_changed: documents whose tokens decode to another text.
    """

    docs: int = 0
    docs_off: int = 0
    docs_changed: int = 0
    text_bytes: int = 0
    table_bytes: int = 0
    kept_bytes: int = 0

    def add(self, other: "TextCount") -> None:
        """Add what was found in further documents."""
        self.docs += other.docs
        self.docs_off += other.docs_off
        self.docs_changed += other.docs_changed
        self.text_bytes += other.text_bytes
        self.table_bytes += other.table_bytes
        self.kept_bytes += other.kept_bytes

    @property
    def dropped_share(self) -> float:
        """Share of the text's bytes that no token holds; below 0 where normalization writes more than it drops."""
        return 1 - self.kept_bytes / self.text_bytes if self.text_bytes else 0.0


class TextBytes:
    """Counts the bytes of documents and of their tokens for one tokenizer, on `threads` threads."""

    def __init__(self, processor: sentencepiece.SentencePieceProcessor, *, threads: int) -> None:
        self._processor = processor
        self._threads = threads
        self._table = ByteTable.from_processor(processor)
        self._spelled = [piece_text(processor, token) for token in range(processor.get_piece_size())]
        self._beyond_T = np.array([_is_beyond(piece) for piece in self._spelled])
        # Character -> what normalization writes for it where that has as many bytes, else itself; filled as met.
        self._written: dict[str, str] = {}

    def compare(self, texts: Sequence[str], encoded: Sequence[Ids]) -> TextCount:
        """Compare whole documents by table and text. encoded: the ids of each text, without BOS."""
        return self._compared(texts, encoded, *self._by_table(encoded))[0]

    def count(
        self, texts: Sequence[str], encoded: Sequence[Ids], *, first: int
    ) -> tuple[npt.NDArray[np.uint16], TextCount]:
        """Bytes behind every token of the stream of these documents, uint16 [T], exact for every document.

        first: number of the first document, for messages. Raises TokenizerError for a token that holds no text
        although it stands for some (an unknown one), and where tokens do not spell the normalized text; DocumentError
        for text that takes more than MAX_TOKEN_BYTES a token.
        """
        self._refuse_unknown(texts, encoded, first)
        lengths_T, starts = self._by_table(encoded)
        count, off, kept = self._compared(texts, encoded, lengths_T, starts)
        unsure = self._unsure(texts, kept, encoded, set(off))
        for i in sorted([*off, *unsure]):
            bytes_T = self._by_normalization(texts[i], encoded[i], first + i)
            of_document = slice(starts[i], starts[i] + bytes_T.size)
            if i in unsure:
                if _agree(lengths_T[of_document], bytes_T, texts[i]):
                    continue
                count.docs_off += 1
            lengths_T[of_document] = bytes_T
        return lengths_T.astype(np.uint16), count

    def _by_table(self, encoded: Sequence[Ids]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Bytes by the table, int64 [T], and where each document starts."""
        stream_T = with_bos(encoded, self._processor.bos_id())
        # Behind another token, so that the first BOS counts as each other one does.
        lengths_T = self._table.target_bytes(np.concatenate([stream_T[-1:], stream_T]))
        starts = np.cumsum([0, *(ids.size + 1 for ids in encoded[:-1])])
        return lengths_T, starts

    def _by_normalization(self, text: str, ids: Ids, number: int) -> npt.NDArray[np.int64]:
        """Bytes of one document's BOS and tokens, int64 [T]. number: of the document, for messages."""
        raw = text.encode()
        normalized, origins = self._processor.normalize(raw, with_offsets=True)
        pieces = [self._spelled[token] for token in ids.tolist()]
        if b"".join(pieces) != normalized:
            raise _contradiction(number, pieces, normalized)
        places = np.cumsum([0, *map(len, pieces)])
        ends = np.array([*origins, len(raw)], np.int64)[places]
        ends[0], ends[-1] = 0, len(raw)
        return _spread(np.diff(ends, prepend=0), number)

    def _compared(
        self,
        texts: Sequence[str],
        encoded: Sequence[Ids],
        lengths_T: npt.NDArray[np.int64],
        starts: npt.NDArray[np.int64],
    ) -> tuple[TextCount, list[int], list[str]]:
        """What was found, the documents of which the table is off in all, and what each one's tokens decode to."""
        text_bytes = np.array([len(text.encode()) for text in texts])
        table_bytes = np.add.reduceat(lengths_T, starts)
        kept = self._processor.decode([ids.tolist() for ids in encoded], num_threads=self._threads)
        off = np.flatnonzero(text_bytes != table_bytes).tolist()
        count = TextCount(
            docs=len(texts),
            docs_off=len(off),
            docs_changed=sum(text != held for text, held in zip(texts, kept, strict=True)),
            text_bytes=int(text_bytes.sum()),
            table_bytes=int(table_bytes.sum()),
            kept_bytes=sum(len(text.encode()) for text in kept),
        )
        return count, off, kept

    def _unsure(
        self, texts: Sequence[str], kept: Sequence[str], encoded: Sequence[Ids], off: Collection[int]
    ) -> set[int]:
        """The documents of which the table gives the bytes in all, but perhaps not up to every token."""
        found = set()
        for i, (text, held, ids) in enumerate(zip(texts, kept, encoded, strict=True)):
            # The table's other mistakes all count too little. Without one that counts too much, none can cancel.
            if i not in off and (self._beyond_T[ids].any() or self._as_written(text) != held):
                found.add(i)
        return found

    def _as_written(self, text: str) -> str:
        """The text with every character that normalization writes as another of as many bytes so written."""
        characters = set(text)
        for character in characters.difference(self._written):
            around = self._processor.normalize("a")
            written = self._processor.normalize(f"a{character}a").removeprefix(around)
            written = written.removesuffix(around.removeprefix(SPACE)).replace(SPACE, " ")
            is_as_long = len(written.encode()) == len(character.encode())
            self._written[character] = written if is_as_long else character
        changed = {ord(c): self._written[c] for c in characters if self._written[c] != c}
        return text.translate(changed) if changed else text

    def _refuse_unknown(self, texts: Sequence[str], encoded: Sequence[Ids], first: int) -> None:
        unknown = [int((ids == self._processor.unk_id()).sum()) for ids in encoded]
        if not any(unknown):
            return
        worst = next(i for i, found in enumerate(unknown) if found)
        mapping = self._processor.encode(texts[worst], return_type="offset_mapping")
        place = mapping["ids"].index(self._processor.unk_id())
        begin, end = mapping["offsets"][place]
        raise TokenizerError(
            f"validation document {first + worst} has {unknown[worst]} unknown tokens, the first for "
            f"{texts[worst][begin:end][:20]!r} at character {begin}: no token holds that text, so no score would be a "
            "code of it; give --tokenizer a model with byte pieces (SentencePiece's byte_fallback=true), or leave it "
            "out to train one here"
        )


def _is_beyond(piece: bytes) -> bool:
    """Whether the table may count more for a piece than it holds: spaces inside, or the last byte of a spelled one."""
    space = SPACE.encode()
    return space in piece[1:] or piece == space[-1:]


def _agree(table_T: npt.NDArray[np.int64], bytes_T: npt.NDArray[np.int64], text: str) -> bool:
    """Whether the table gives the bytes up to every token, or to a place inside a character that tokens share."""
    by_table_T, by_text_T = np.cumsum(table_T), np.cumsum(bytes_T)
    raw = np.frombuffer(text.encode(), np.uint8)
    characters = np.append(np.flatnonzero((raw & 0xC0) != 0x80), raw.size)
    after = np.searchsorted(characters, by_text_T, "right")
    before = np.searchsorted(characters, by_text_T, "left") - 1
    inside_T = (characters[np.maximum(before, 0)] < by_table_T) & (
        by_table_T < characters[np.minimum(after, characters.size - 1)]
    )
    shared_T = (bytes_T == 0) | np.append(bytes_T[1:] == 0, False)
    return bool(((by_table_T == by_text_T) | (inside_T & shared_T)).all())


def _contradiction(number: int, pieces: Sequence[bytes], normalized: bytes) -> TokenizerError:
    text = b"".join(pieces)
    at = next((i for i, (one, other) in enumerate(zip(text, normalized)) if one != other), 0)
    return TokenizerError(
        f"validation document {number}: its tokens spell {text[at : at + 20]!r} where the normalized text has "
        f"{normalized[at : at + 20]!r} (byte {at}), so the bytes of each cannot be counted; give another tokenizer"
    )


def with_bos(encoded: Sequence[Ids], bos_id: int) -> npt.NDArray[np.uint16]:
    """The stream of these documents, uint16 [T]: BOS before the ids of each."""
    bos = np.array([bos_id], dtype=np.int32)
    return np.concatenate([part for ids in encoded for part in (bos, ids)]).astype(np.uint16)


def _spread(bytes_T: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.int64]:
    """What a shard cannot hold for one token goes to the tokens behind it, and from the last to those before."""
    if bytes_T.max() <= MAX_TOKEN_BYTES:
        return bytes_T
    spread = bytes_T.tolist()
    over = 0
    for places in (range(len(spread)), range(len(spread) - 1, -1, -1)):
        for place in places:
            held = min(spread[place] + over, MAX_TOKEN_BYTES)
            over += spread[place] - held
            spread[place] = held
    if over:
        raise DocumentError(
            f"validation document {number}: {int(bytes_T.sum()):,} bytes of text in {len(spread)} tokens, at most "
            f"{MAX_TOKEN_BYTES:,} a token; leave the document out, or give a tokenizer that drops less"
        )
    return np.array(spread, np.int64)
