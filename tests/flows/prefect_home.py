"""A PREFECT_HOME of a test's own."""

import shutil
from pathlib import Path


def prefect_home(folder: Path, database: Path) -> str:
    """What PREFECT_HOME is to be: `folder`/prefect, made now, with a copy of the fixture `prefect_database`."""
    home = folder / "prefect"
    home.mkdir(parents=True)
    shutil.copy(database, home / "prefect.db")
    return str(home)
