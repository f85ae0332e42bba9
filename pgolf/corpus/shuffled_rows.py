"""Rows of training shards in a shuffled, endless order, which depends on the shards and on the reader, not on a seed.

Shapes: N rows, T inputs of a row; a row has one more token, its last target, with which the next one of its shard may
begin.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgolf.corpus.dataset import Dataset
from pgolf.corpus.shards import Tokens, check_ids, read_shard, require_train_shards
from pgolf.errors import DataError


class ShuffledRows:
    """The rows of rank r of R, by their numbers from 0 on: those of the shards r, r + R, … of the list.

    A shard is cut into rows that lie T apart, from a first place drawn among its first T, and they are shuffled. The
    next row is the last one left of a shard that is drawn in proportion to what each has left; once nothing is left,
    all are cut anew. All draws are those of PCG64(r). To go back is to draw everything again up to there.
    Source: the loader of Parameter Golf PR #1493, whose order depends on the number of its ranks, and so on R here.
    """

    def __init__(self, shards: Sequence[Path], *, rank: int, ranks: int, length: int, vocab_size: int) -> None:
        self._paths = tuple(shards[rank::ranks])
        self._rank, self._length, self._vocab_size = rank, length, vocab_size
        self._shards = [read_shard(path) for path in self._paths]
        longest = max((shard.size for shard in self._shards), default=0)
        if longest <= length:
            sizes = f", of {longest:,} tokens at most" if longest else ""
            raise DataError(
                f"{shards[0].parent}: data rank {rank} of {ranks} has {len(self._paths)} of the {len(shards)} train "
                f"shards{sizes}, and needs one with a row of {length + 1:,} tokens; use more or "
                "larger shards, fewer data ranks (train.data_ranks, calibrate.spans) or shorter rows "
                "(train.sequence_length, calibrate.sequence_length)"
            )
        self._begin()

    def take(self, first: int, count: int) -> Tokens:
        """Rows first, first + 1, … as uint16 [count, T + 1]. Raises ShardError for an id outside the vocabulary."""
        if first < self._next:
            self._begin()
        while self._next < first:
            self._draw()
        rows: Tokens = np.empty((count, self._length + 1), np.uint16)
        for row in rows:
            shard, start = self._draw()
            row[:] = self._shards[shard][start : start + row.size]
            check_ids(row, self._vocab_size, self._paths[shard], offset=start)
        return rows

    def _begin(self) -> None:
        self._random = np.random.Generator(np.random.PCG64(self._rank))
        self._next = 0
        self._deal()

    def _deal(self) -> None:
        """Cut and shuffle every shard."""
        self._starts = [self._cut(shard.size) for shard in self._shards]
        self._left = np.array([len(starts) for starts in self._starts], np.float64)

    def _cut(self, tokens: int) -> npt.NDArray[np.int64]:
        latest = min(self._length - 1, max(0, tokens - self._length - 1))
        phase = int(self._random.integers(latest + 1)) if latest else 0
        return phase + self._length * self._random.permutation((tokens - 1 - phase) // self._length)

    def _draw(self) -> tuple[int, int]:
        """Shard and start of the next row."""
        if not self._left.any():
            self._deal()
        shard = int(self._random.choice(len(self._left), p=self._left / self._left.sum()))
        self._left[shard] -= 1
        self._next += 1
        return shard, int(self._starts[shard][int(self._left[shard])])


def shuffled_rows(dataset: Dataset, *, rank: int, ranks: int, length: int, vocab_size: int) -> ShuffledRows:
    """The training rows of a data rank. Raises DataError where it has none, ShardError for a bad shard."""
    require_train_shards(dataset)
    return ShuffledRows(dataset.train_shards, rank=rank, ranks=ranks, length=length, vocab_size=vocab_size)
