"""What every test stands on."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from flows.settings import calm_threads
from tests.data_folder import write_tokenizer

calm_threads()

# A test's time says how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real FineWeb tokens and tokenizers, where PGOLF_TEST_DATA names one."""
    folder = os.environ.get("PGOLF_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PGOLF_TEST_DATA names no folder of real FineWeb tokens")
    return Path(folder)


@pytest.fixture(scope="session")
def toy_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of 340 pieces with the challenge's special ids."""
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")
