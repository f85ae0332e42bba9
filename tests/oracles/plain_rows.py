"""The shuffled rows of #1493's loader from its description: a generator and lists of starts."""

import numpy as np


class PlainRows:
    """Rows of T + 1 tokens of rank r of W, which has every W-th shard from the r-th on. Drawn in order, never again."""

    def __init__(self, shards, length, rank, ranks):
        self.shards, self.length = shards[rank::ranks], length
        self.random = np.random.Generator(np.random.PCG64(rank))
        self.deal()

    def deal(self):
        self.starts = []
        for shard in self.shards:
            most = min(self.length - 1, max(0, len(shard) - self.length - 1))
            phase = int(self.random.integers(most + 1)) if most > 0 else 0
            count = (len(shard) - 1 - phase) // self.length
            self.starts.append([phase + self.length * int(k) for k in self.random.permutation(count)])

    def row(self):
        if not any(self.starts):
            self.deal()
        left = np.array([len(starts) for starts in self.starts], dtype=np.float64)
        shard = int(self.random.choice(len(self.shards), p=left / left.sum()))
        start = self.starts[shard].pop()
        return self.shards[shard][start : start + self.length + 1]
