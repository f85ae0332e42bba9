"""A small data folder with a real tokenizer, to count the n-grams of its validation stream."""

import numpy as np
import pytest

from tests.data_folder import write_data_folder


@pytest.fixture
def val_tokens():
    """3,000 tokens drawn from the few ids that the toy tokenizer has beyond its byte pieces."""
    return np.random.default_rng(6).integers(255, 280, 3000).astype(np.uint16)


@pytest.fixture
def data_folder(tmp_path, toy_tokenizer, val_tokens):
    """A data folder whose only validation shard is val_tokens."""
    return write_data_folder(tmp_path / "data", train=[val_tokens], val=[val_tokens], tokenizer=toy_tokenizer)
