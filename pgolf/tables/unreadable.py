"""Files of result tables that cannot be read, found before a run: at its end it reads them all, and would file nothing.

Loads Arrow only for a file without a seal, of an earlier version or damaged.
"""

from collections.abc import Iterator
from pathlib import Path

from pgolf.errors import ResultsError
from pgolf.store.plain_file import open_plain
from pgolf.tables.file_names import DETAIL_FOLDERS, FOLDERS, REMOVED
from pgolf.tables.seal import is_sealed


def unreadable(results: Path) -> Iterator[str]:
    """Of each such file below `results` what is wrong with it and what to do; of removed runs the scores are read."""
    folders = [(results / name, name) for name in (*FOLDERS, *DETAIL_FOLDERS)]
    folders += [(path, "scores") for path in sorted((results / REMOVED).glob("*/scores"))]
    for folder, name in folders:
        for path in sorted(folder.glob("[!.]*.parquet")):
            if not _is_whole(path):
                yield from _complaint(path, name)


def _is_whole(path: Path) -> bool:
    try:
        with open_plain(path) as file:
            return is_sealed(file.read())
    except (OSError, ValueError):
        return False


def _complaint(path: Path, name: str) -> Iterator[str]:
    from pgolf.tables.detail_tables import DETAILS
    from pgolf.tables.parquet import refuse_damaged
    from pgolf.tables.schema import TABLES

    [spec] = [spec for spec in (*TABLES.values(), *DETAILS) if spec.name == name]
    try:
        refuse_damaged(path, spec)
    except ResultsError as error:
        yield str(error)
