"""A data folder of random text and a network that trains on it in a second."""

from pathlib import Path

import numpy as np

from pgolf.corpus.dataset import open_dataset
from pgolf.model.config import ModelConfig
from pgolf.train.batches import Batches, batches_of
from pgolf.train.config import TrainConfig, TrainStageConfig
from tests.data_folder import write_data_folder

VOCAB = 32

TINY = TrainStageConfig(
    model=ModelConfig(
        vocab_size=VOCAB,
        width=32,
        layers=3,
        heads=2,
        kv_heads=1,
        mlp_width=48,
        bigram_buckets=64,
        bigram_dim=8,
        rope_dims=8,
    ),
    train=TrainConfig(
        tokens_per_step=8 * 32,
        sequence_length=16,
        steps=6,
        clock_limit_s=None,
        warmdown_steps=3,
        priming_steps=0,
        muon_momentum_warmup_steps=4,
    ),
)


def with_train(**fields) -> TrainStageConfig:
    return TINY.model_copy(update={"train": TINY.train.model_copy(update=fields)})


def learnable_tokens(count: int, seed: int = 0) -> np.ndarray:
    """A chain in which most tokens have one likely successor, so that a few steps lower the loss."""
    random = np.random.default_rng(seed)
    successor = random.permutation(VOCAB)
    tokens = np.zeros(count, dtype=np.uint16)
    for i in range(1, count):
        tokens[i] = successor[tokens[i - 1]] if random.random() < 0.8 else random.integers(VOCAB)
    return tokens


def spans_of(data: Path, config: TrainStageConfig) -> Batches:
    return batches_of(open_dataset(data), config.train, config.model.vocab_size)


def write_data(folder: Path, train: list[np.ndarray], *, vocab_size: int = VOCAB) -> Path:
    """A data folder of these training shards."""
    return write_data_folder(folder, train=train, val=[train[0][:50] % vocab_size], vocab_size=vocab_size)
