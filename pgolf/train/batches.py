"""What a step takes of the training tokens: the order that the config asks for, behind one interface."""

from typing import Protocol

import torch
from torch import Tensor

from pgolf.corpus.dataset import Dataset
from pgolf.corpus.shards import training_stream
from pgolf.train.config import TrainConfig
from pgolf.train.rows import RowReader
from pgolf.train.spans import SpanReader


class Batches(Protocol):
    """The parts of optimizer steps, `spans_per_step` of each, in any order and as often as asked for."""

    def read(self, step: int, index: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Inputs and targets of part `index` of a step, int64 [B, T] each, on `device`."""


def batches_of(dataset: Dataset, config: TrainConfig, vocab_size: int) -> Batches:
    """The reader that `config` asks for. Raises DataError for data that it cannot read, ShardError for a bad shard."""
    if config.batches == "rows":
        return RowReader(dataset, config, vocab_size)
    return SpanReader(training_stream(dataset, vocab_size=vocab_size), config)
