"""Token shards in the challenge's format, and the training and validation streams read from them.

A shard is 256 little-endian int32 (magic, version, token count, zeros), then the tokens as little-endian uint16.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgolf.corpus.dataset import Dataset
from pgolf.errors import DataError, ShardError

MAGIC = 20240520
VERSION = 1
HEADER_INTS = 256
HEADER_BYTES = 4 * HEADER_INTS
TOKEN_BYTES = 2

Tokens = npt.NDArray[np.uint16]


def read_shard(path: Path, *, vocab_size: int | None = None) -> Tokens:
    """Open a shard: its tokens as a read-only memory map, uint16 [count].

    With vocab_size the whole shard is read once, and every id must be below it.
    Raises ShardError naming the file and the numbers that do not fit.
    """
    try:
        size_bytes = os.stat(path).st_size
        if size_bytes < HEADER_BYTES:
            raise ShardError(f"{path}: {size_bytes} bytes, a shard's header alone takes {HEADER_BYTES}; fetch it again")
        header = np.fromfile(path, dtype="<i4", count=HEADER_INTS)
    except OSError as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise ShardError(f"{path}: shard {what}; create or fetch the data folder again") from error
    magic, version, count = (int(value) for value in header[:3])
    if magic != MAGIC:
        raise ShardError(f"{path}: magic number {magic}, expected {MAGIC}; this is not a token shard")
    if version != VERSION:
        raise ShardError(f"{path}: format version {version}, only {VERSION} is supported")
    if count < 1:
        raise ShardError(f"{path}: header counts {count} tokens; a shard must not be empty, create it again")
    if size_bytes != HEADER_BYTES + TOKEN_BYTES * count:
        body_bytes = size_bytes - HEADER_BYTES
        kind = "an odd number of body bytes" if body_bytes % TOKEN_BYTES else f"{body_bytes // TOKEN_BYTES} tokens"
        raise ShardError(
            f"{path}: {size_bytes} bytes hold {kind}, the header counts {count} tokens "
            f"= {HEADER_BYTES + TOKEN_BYTES * count} bytes; the file is truncated or damaged, create or fetch it again"
        )
    tokens: Tokens = np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES, shape=(count,))
    if vocab_size is not None:
        check_ids(tokens, vocab_size, path, offset=0)
    return tokens


def write_shard(path: Path, tokens: npt.ArrayLike) -> None:
    """Write a one-dimensional, non-empty integer array of ids in [0, 65535] as one shard.

    Raises ShardError for anything the format cannot represent.
    """
    array = np.asarray(tokens)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ShardError(f"{path}: a shard holds a flat integer array, got {array.dtype} of shape {array.shape}")
    if not 1 <= array.size < 2**31:
        raise ShardError(f"{path}: a shard holds 1 to {2**31 - 1} tokens, got {array.size}")
    if array.dtype != np.uint16 and (array.min() < 0 or array.max() > np.iinfo(np.uint16).max):
        raise ShardError(f"{path}: ids must be in [0, 65535], got {array.min()} to {array.max()}")
    with open(path, "wb") as file:
        file.write(header_bytes(array.size))
        file.write(np.ascontiguousarray(array, dtype="<u2").data)


def validation_tokens(dataset: Dataset, *, window: int) -> Tokens:
    """The validation stream: all val shards in name order, cut to a whole number of windows plus one token.

    Returns uint16 [windows·window + 1]; every target (all but the first token) lies in a whole window.
    Raises DataError if the shards hold less than one window, ShardError for a bad shard.
    """
    parts = [read_shard(path, vocab_size=dataset.vocab_size) for path in dataset.val_shards]
    tokens = parts[0] if len(parts) == 1 else np.concatenate(parts)
    windows = (tokens.size - 1) // window
    if windows < 1:
        raise DataError(
            f"{dataset.folder}: the {len(parts)} validation shards hold {tokens.size} tokens, less than one window of "
            f"{window} + 1; hold out more documents or score with a shorter window"
        )
    return tokens[: windows * window + 1]


def validation_bytes(dataset: Dataset) -> Tokens | None:
    """Bytes of text behind every token of all val shards, uint16 [tokens]; None where the data has none counted.

    Raises ShardError for a bad shard, and for one of another length than its val shard.
    """
    if not dataset.val_byte_shards:
        return None
    parts = [read_shard(path) for path in dataset.val_byte_shards]
    for part, path, of in zip(parts, dataset.val_byte_shards, dataset.val_shards, strict=True):
        if part.size != (tokens := read_shard(of).size):
            raise ShardError(
                f"{path}: bytes of {part.size} tokens, {of.name} holds {tokens}; create or fetch the data folder again"
            )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def training_stream(dataset: Dataset, *, vocab_size: int) -> "TokenStream":
    """The training stream: all train shards in name order, repeated endlessly.

    Raises DataError for data without train shards, and ShardError for a bad shard.
    """
    require_train_shards(dataset)
    return TokenStream(dataset.train_shards, vocab_size=vocab_size)


def require_train_shards(dataset: Dataset) -> None:
    """Raise DataError for data without train shards, which is valid for scoring alone."""
    if not dataset.train_shards:
        raise DataError(
            f"{dataset.folder}: holds no train shards, only {len(dataset.val_shards)} validation shards; training and "
            "calibration need train shards: tokenize documents or fetch some"
        )


def stream_digest(tokens: Tokens) -> str:
    """SHA-256 of a stream's tokens as little-endian uint16, 64 hex digits: identifies the data of traces and counts."""
    return hashlib.sha256(np.ascontiguousarray(tokens, dtype="<u2").data).hexdigest()


def header_bytes(count: int) -> bytes:
    """The 1,024-byte header of a shard of `count` tokens."""
    header = np.zeros(HEADER_INTS, dtype="<i4")
    header[:3] = MAGIC, VERSION, count
    return header.tobytes()


class TokenStream:
    """Endless reader over shards in the given order; after the last token it wraps around to the first.

    position: tokens since the very first one. It keeps growing past a wrap, so that it counts what was read; `seek`
    takes the same number. Headers are checked at once, ids (with vocab_size) as they are read.
    """

    def __init__(self, shards: Sequence[Path], *, vocab_size: int | None = None) -> None:
        assert shards, "a stream needs at least one shard"
        self._paths = tuple(shards)
        self._vocab_size = vocab_size
        self._shards = [read_shard(path) for path in self._paths]
        # _starts[i] is the position of shard i's first token within a pass; the last entry is the length of a pass.
        self._starts = np.concatenate([[0], np.cumsum([shard.size for shard in self._shards], dtype=np.int64)])
        self.position = 0

    @property
    def pass_tokens(self) -> int:
        """Tokens in one pass over all shards."""
        return int(self._starts[-1])

    def seek(self, position: int) -> None:
        """Set the position of the next token; positions beyond one pass wrap around."""
        if position < 0:
            raise ValueError(f"stream position must be at least 0, got {position}")
        self.position = position

    def take(self, count: int) -> Tokens:
        """Copy the next `count` tokens, uint16 [count], and advance."""
        if count < 0:
            raise ValueError(f"cannot take {count} tokens")
        taken: Tokens = np.empty(count, dtype=np.uint16)
        filled = 0
        while filled < count:
            within_pass = (self.position + filled) % self.pass_tokens
            index = int(np.searchsorted(self._starts, within_pass, side="right")) - 1
            offset = within_pass - int(self._starts[index])
            piece = self._shards[index][offset : offset + count - filled]
            if self._vocab_size is not None:
                check_ids(piece, self._vocab_size, self._paths[index], offset=offset)
            taken[filled : filled + piece.size] = piece
            filled += piece.size
        self.position += count
        return taken


def check_ids(tokens: Tokens, vocab_size: int, path: Path, *, offset: int) -> None:
    """Raise ShardError for an id outside the vocabulary. offset: where in the shard these tokens begin."""
    if tokens.size and int(tokens.max()) >= vocab_size:
        at = int(np.argmax(tokens >= vocab_size))
        raise ShardError(
            f"{path}: token {offset + at} has id {int(tokens[at])}, the vocabulary ends at {vocab_size - 1}; "
            "the shards were made with another tokenizer"
        )
