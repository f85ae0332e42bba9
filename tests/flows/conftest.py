"""What tests of flows share."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with Prefect's tables and nothing in them, which `tests.flows.prefect_home` copies.

    One is made for all workers of a test session: a server that makes its own runs all of Prefect's migrations, 6 s of
    CPU (measured). The documented commands, and a server on PostgreSQL, make theirs.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    database = folder / "prefect" / "prefect.db"
    with (folder / "prefect.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            unfinished = folder / "prefect.unfinished"
            subprocess.run(
                [Path(sys.executable).parent / "prefect", "server", "database", "upgrade", "-y"],
                env={**os.environ, "PREFECT_HOME": str(unfinished)},
                check=True,
                capture_output=True,
            )
            unfinished.rename(database.parent)
    return database
