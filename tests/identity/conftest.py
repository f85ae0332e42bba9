"""A folder with a pgolf of its own, of which files can be edited: what names and loads code, and nothing else."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def copy_of_pgolf(root: Path) -> Path:
    """Write the smallest pgolf whose modules can be imported and named."""
    (root / "pgolf").mkdir()
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "pgolf" / name, root / "pgolf")
    shutil.copytree(ROOT / "pgolf/identity", root / "pgolf/identity", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def copy(tmp_path) -> Path:
    return copy_of_pgolf(tmp_path)
