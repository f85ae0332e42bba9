"""Training batches: shuffled rows of several data ranks, the same for any number of processes."""

import numpy as np
import torch
from torch import Tensor

from pgolf.corpus.dataset import Dataset
from pgolf.corpus.shuffled_rows import shuffled_rows
from pgolf.train.config import TrainConfig
from pgolf.train.spans import on_device


class RowReader:
    """Random access to the rows of optimizer steps.

    A step takes as many rows of each data rank, the next ones of its own order; rank after rank they are the step's
    rows, of which span 0 has the first, and so on. Raises DataError where a data rank has no rows.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, vocab_size: int) -> None:
        length, ranks = config.sequence_length, config.data_ranks
        self.config = config
        self.ranks = [
            shuffled_rows(dataset, rank=rank, ranks=ranks, length=length, vocab_size=vocab_size)
            for rank in range(ranks)
        ]

    def read(self, step: int, index: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Inputs and targets of span `index` of a step, int64 [B, T] each, on `device`."""
        each = self.config.rows_per_step // self.config.data_ranks
        per_span = self.config.rows_per_step // self.config.spans_per_step
        parts = []
        row, end = index * per_span, (index + 1) * per_span
        while row < end:
            rank, place = divmod(row, each)
            count = min(each - place, end - row)
            parts.append(self.ranks[rank].take(step * each + place, count))
            row += count
        rows = on_device(np.concatenate(parts), device)
        return rows[:, :-1], rows[:, 1:]
