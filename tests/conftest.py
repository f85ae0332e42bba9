"""What every test stands on."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from flows.settings import calm_threads

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
