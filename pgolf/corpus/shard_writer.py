"""Write a token stream into numbered shards of fixed size."""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pgolf.corpus.dataset import ShardKind, shard_name
from pgolf.corpus.shards import HEADER_BYTES, Tokens, header_bytes


class ShardWriter:
    """Appends tokens to numbered shards of exactly shard_tokens each; the last one, closed on exit, may be shorter.

    Nothing is buffered: a shard's header is written once its token count is known. No shard is ever empty.
    """

    def __init__(self, folder: Path, kind: ShardKind, *, shard_tokens: int) -> None:
        self.tokens = 0
        self.files = 0
        self._folder = folder
        self._kind = kind
        self._shard_tokens = shard_tokens
        self._file: BinaryIO | None = None
        self._in_shard = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._close_shard()

    def append(self, tokens: Tokens) -> None:
        """Append tokens, uint16 [n], to the stream, starting a new shard whenever one is full."""
        done = 0
        while done < tokens.size:
            if self._file is None:
                self._file = open(self._folder / shard_name(self._kind, self.files), "wb")  # noqa: SIM115
                self._file.write(bytes(HEADER_BYTES))
                self.files += 1
            piece = tokens[done : done + self._shard_tokens - self._in_shard]
            self._file.write(piece.astype("<u2", copy=False).tobytes())
            done += piece.size
            self._in_shard += piece.size
            self.tokens += piece.size
            if self._in_shard == self._shard_tokens:
                self._close_shard()

    def _close_shard(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # Close the file even if the writes below fail, as on a full disk.
            with file:
                file.seek(0)
                file.write(header_bytes(self._in_shard))
            self._in_shard = 0
