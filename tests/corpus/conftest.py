"""Data folders as lists of tokens."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.data_folder import write_data_folder


@pytest.fixture
def data_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a data folder from lists of shards: data_folder(train=[[1, 2], …], val=[[1, 5], …])."""
    return partial(write_data_folder, tmp_path / "data")
