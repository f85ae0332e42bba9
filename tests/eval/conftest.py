"""A small network with weights that matter, and a data folder of random tokens for it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from tests.data_folder import VOCAB_SIZE, write_data_folder


@pytest.fixture(scope="session")
def toy_network() -> GPT:
    """Two layers over 340 tokens; every weight is drawn, so that every part of the network has a say."""
    config = ModelConfig(
        vocab_size=VOCAB_SIZE, width=32, layers=2, heads=2, kv_heads=1, mlp_width=48, bigram_buckets=64, bigram_dim=8,
        rope_dims=8, rope_reference_length=16,
    )  # fmt: skip
    model = GPT(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn * (0.3 if parameter.ndim > 1 else 1.0))
    return model.eval()


@pytest.fixture
def toy_data(tmp_path: Path, toy_tokenizer: Path) -> Callable[..., Path]:
    """Writes a data folder: toy_data(val_tokens), with options of `write_data_folder`."""
    return partial(_data_folder, tmp_path / "data", toy_tokenizer)


@pytest.fixture(scope="module")
def shared_data(tmp_path_factory: pytest.TempPathFactory, toy_tokenizer: Path) -> Callable[..., Path]:
    """`toy_data` for all tests of a module."""
    return partial(_data_folder, tmp_path_factory.mktemp("shared") / "data", toy_tokenizer)


def _data_folder(folder: Path, tokenizer: Path, val_tokens: np.ndarray, **options: Any) -> Path:
    return write_data_folder(folder, val=[val_tokens], tokenizer=tokenizer, **options)
