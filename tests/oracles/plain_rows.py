"""Shuffled rows from their definition: lists of starts, of which the last one is taken."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


def rows_by_definition(shards: Sequence[Any], rank: int, ranks: int, length: int) -> Iterator[list[int]]:
    """Rows of length + 1 tokens, without end.

    A rank has every ranks-th shard from its own number on. A shard of n tokens is cut at phase, phase + length, …, as
    long as a row has length + 1 tokens there; the phase is drawn below min(length, n - length) where that leaves a
    choice, and the starts are permuted. A row's shard is drawn by how many starts each has left.
    """
    own = [list(map(int, shard)) for shard in shards[rank::ranks]]
    draws = np.random.Generator(np.random.PCG64(rank))

    def cut(n: int) -> list[int]:
        choices = min(length - 1, max(0, n - length - 1)) + 1
        phase = int(draws.integers(choices)) if choices > 1 else 0
        starts = list(range(phase, n - length, length))
        return [starts[place] for place in draws.permutation(len(starts))]

    left: list[list[int]] = [[] for _shard in own]
    while True:
        if not any(left):
            left = [cut(len(shard)) for shard in own]
        total = sum(map(len, left))
        chosen = int(draws.choice(len(own), p=[len(starts) / total for starts in left]))
        start = left[chosen].pop()
        yield own[chosen][start : start + length + 1]
