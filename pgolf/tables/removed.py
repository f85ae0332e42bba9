"""Runs taken out of the tables: their files lie in results/.removed, a folder like results for each, until taken back.

The declarations stay, and what was removed goes on counting for them: a headline once declared stays declared, scores
once seen stay seen (`pgolf.pipeline.declared`), and a declared seed is missing (`pgolf.tables.declared_seeds`).
"""

import glob
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pgolf.errors import ResultsError
from pgolf.store.durable_folder import make_folder
from pgolf.tables.file_names import REMOVED
from pgolf.tables.named_runs import Run, run_named, runs_in
from pgolf.tables.schema import DECLARATIONS, SCORES, SEEDS


def removed_results(results: Path) -> list[Path]:
    """Folders with the files of removed runs, the latest first; each is laid out as the results are."""
    folder = results / REMOVED
    return sorted((path for path in folder.iterdir() if path.is_dir()), reverse=True) if folder.is_dir() else []


def remove_run(results: Path, run: Run) -> list[Path]:
    """Take a run's rows, pictures and pages out of the results; returns where they were. Raises ResultsError.

    Its scores go last: whoever is killed here finds the run still there, and removes the rest.
    """
    into = results / REMOVED / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(2)}"
    files = _files_of(results, run.key)
    for path in files:
        _move(path, into / path.relative_to(results))
    return files


def take_back(results: Path, text: str) -> Run:
    """Put back the run that a text names, of several with that name the one that was removed last.

    Raises ConfigError where none is called that, and ResultsError where the files cannot be moved.
    """
    of_run = {run.key: (run, folder) for folder in reversed(removed_results(results)) for run in runs_in(folder)}
    run, folder = of_run[run_named(text, [run for run, _ in of_run.values()]).key]
    # Whoever was killed while removing it has left a part of it in a folder of its own.
    parts = [part for part in removed_results(results) if part == folder or _is_rest(part, run.key)]
    for part in parts:
        for path in _files_of(part, run.key):
            if os.path.lexists(newer := results / path.relative_to(part)):
                raise ResultsError(
                    f"{newer} is there already, from a later run: `pgolf rm {run.key}` first, or leave the old one "
                    "removed"
                )
    for part in parts:
        for path in reversed(_files_of(part, run.key)):
            _move(path, results / path.relative_to(part))
        for left in sorted(part.rglob("*"), reverse=True):
            left.rmdir()
        part.rmdir()
    return run


def _is_rest(folder: Path, key: str) -> bool:
    """Whether a folder holds a run's other files, and not its scores: then it is no removed run by itself."""
    files = _files_of(folder, key)
    return bool(files) and not any(path.parent.name == SCORES.name for path in files)


def _files_of(results: Path, key: str) -> list[Path]:
    """Files and folders that are called after a run, those with its scores last."""
    longer = [path.stem for path in (results / SCORES.name).glob(f"{glob.escape(key)}?*.parquet")]
    found = [
        path
        for table in sorted(results.iterdir())
        if table.is_dir() and not table.name.startswith(".") and table.name not in (DECLARATIONS.name, SEEDS.name)
        for path in sorted(table.iterdir())
        if _is_of(key, path.name) and not any(_is_of(other, path.name) for other in longer)
    ]
    return sorted(found, key=lambda path: path.parent.name == SCORES.name)


def _is_of(key: str, name: str) -> bool:
    return name == key or name.startswith((f"{key}.", f"{key}-"))


def _move(path: Path, to: Path) -> None:
    try:
        make_folder(to.parent)
        os.replace(path, to)
    except OSError as error:
        raise ResultsError(
            f"{path} could not be moved to {to.parent}: {error.strerror or error}; run it again"
        ) from None


def removed_runs(results: Path) -> Sequence[Run]:
    """The runs that can be taken back, each once."""
    return [*{run.key: run for folder in removed_results(results) for run in runs_in(folder)}.values()]
