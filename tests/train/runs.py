"""A data folder of random text and a network that trains on it in a second."""

import json
from pathlib import Path

import numpy as np

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import TokenStream, write_shard
from pgolf.model.config import ModelConfig
from pgolf.train.config import TrainConfig, TrainStageConfig
from pgolf.train.spans import SpanReader

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


def spans_of(data: Path, config: TrainStageConfig) -> SpanReader:
    return SpanReader(TokenStream(open_dataset(data).train_shards), config.train)


def write_data(folder: Path, train: list[np.ndarray], *, vocab_size: int = VOCAB) -> Path:
    """The published layout; the tokenizer file is only there to be found."""
    shards = folder / "datasets/toy"
    shards.mkdir(parents=True)
    (folder / "tokenizers").mkdir()
    (folder / "tokenizers/toy.model").write_bytes(b"unused")
    for index, tokens in enumerate(train):
        write_shard(shards / f"fineweb_train_{index:06d}.bin", tokens)
    write_shard(shards / "fineweb_val_000000.bin", train[0][:50] % vocab_size)
    manifest = {
        "version": "10B",
        "tokenizers": [{"name": "toy", "vocab_size": vocab_size, "model_path": "tokenizers/toy.model"}],
        "datasets": [
            {
                "name": "toy",
                "tokenizer_name": "toy",
                "path": "datasets/toy",
                "vocab_size": vocab_size,
                "bos_id": 1,
                "stats": {"files_train": len(train), "files_val": 1},
            }
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
