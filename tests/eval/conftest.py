"""A small network with weights that matter, and a data folder of random tokens for it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch

from pgolf.corpus.shards import write_shard
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT

VOCAB = 300


@pytest.fixture(scope="session")
def toy_network() -> GPT:
    """Two layers over 300 tokens; every weight is drawn, so that every part of the network has a say."""
    config = ModelConfig(
        vocab_size=VOCAB, width=32, layers=2, heads=2, kv_heads=1, mlp_width=48, bigram_buckets=64, bigram_dim=8,
        rope_dims=8, rope_reference_length=16,
    )  # fmt: skip
    model = GPT(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn * (0.3 if parameter.ndim > 1 else 1.0))
    return model.eval()


@pytest.fixture(scope="session")
def toy_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of at most 300 pieces with the challenge's special ids."""
    path = tmp_path_factory.mktemp("tokenizer") / "toy.model"
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the quick brown fox jumps over the lazy dog again and again"] * 4),
            model_writer=file,
            model_type="bpe",
            vocab_size=VOCAB,
            byte_fallback=True,
            add_dummy_prefix=False,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return path


@pytest.fixture
def toy_data(tmp_path: Path, toy_tokenizer: Path) -> Callable[..., Path]:
    """Writes a data folder: toy_data(val_tokens, vocab_size=300)."""
    return partial(_data_folder, tmp_path / "data", toy_tokenizer)


@pytest.fixture(scope="module")
def shared_data(tmp_path_factory: pytest.TempPathFactory, toy_tokenizer: Path) -> Callable[..., Path]:
    """`toy_data` for all tests of a module."""
    return partial(_data_folder, tmp_path_factory.mktemp("shared") / "data", toy_tokenizer)


def _data_folder(folder: Path, tokenizer: Path, val_tokens: np.ndarray, *, vocab_size: int = VOCAB) -> Path:
    shards = folder / "datasets/toy"
    shards.mkdir(parents=True)
    (folder / "tokenizers").mkdir()
    (folder / "tokenizers/toy.model").write_bytes(tokenizer.read_bytes())
    write_shard(shards / "fineweb_train_000000.bin", np.arange(1, 9))
    write_shard(shards / "fineweb_val_000000.bin", val_tokens)
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
                "stats": {"files_train": 1, "files_val": 1},
            }
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
