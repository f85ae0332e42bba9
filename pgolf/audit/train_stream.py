"""The training shards as one long stream that is read piece by piece, and never mapped into memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgolf.corpus.shards import HEADER_BYTES, TOKEN_BYTES, read_shard
from pgolf.errors import DataError, ShardError

Tokens = npt.NDArray[np.uint16]


class TrainStream:
    """All tokens of the shards in the given order. starts: the first position of each shard, then the end.

    Raises DataError where there are no shards, ShardError for a bad header or a length that is not what it says.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        if not shards:
            raise DataError("no training shards, so nothing to compare validation with; name at least one")
        self.shards = tuple(shards)
        sizes = [read_shard(path).size for path in self.shards]
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    @property
    def tokens(self) -> int:
        """Tokens of all shards."""
        return int(self.starts[-1])

    def place(self, position: int) -> tuple[int, int]:
        """Shard of a position, and the position within it."""
        shard = int(np.searchsorted(self.starts, position, side="right")) - 1
        return shard, position - int(self.starts[shard])

    def read(self, begin: int, end: int) -> Tokens:
        """Copy the tokens of [begin, end), cut to the stream, across shards.

        Mapped pages would count as memory of this process, and a file that shrinks under a map ends it.
        """
        begin, end = max(0, begin), min(end, self.tokens)
        parts = []
        while begin < end:
            shard, offset = self.place(begin)
            count = min(end - begin, int(self.starts[shard + 1]) - begin)
            path = self.shards[shard]
            try:
                part = np.fromfile(path, "<u2", count, offset=HEADER_BYTES + TOKEN_BYTES * offset)
            except OSError as error:
                raise ShardError(f"{path}: cannot be read ({error.strerror}); create or fetch it again") from error
            if len(part) < count:
                counted = int(self.starts[shard + 1] - self.starts[shard])
                raise ShardError(
                    f"{path}: ends at token {offset + len(part):,} of the {counted:,} that it had when it was opened; "
                    "it was changed meanwhile: start again"
                )
            parts.append(part.astype(np.uint16, copy=False))
            begin += count
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint16), *parts])
