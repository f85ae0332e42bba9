"""Write a run's pictures atomically to results/figures/<run key>/."""

import errno
import glob
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from pgolf.errors import ResultsError
from pgolf.report.drawn_before import drawn_before, files_of, key_of, note_keys
from pgolf.report.families import Sketch, pictures_of, sketches_of
from pgolf.report.run_facts import RunFacts, facts_of
from pgolf.tables.ranked import scorer_results

FIGURES = "figures"
DrawAll = Callable[[Sequence[Sketch], RunFacts, Path], bool]


def figures_folder(results: Path, run_key: str) -> Path:
    """Path of a run's pictures; it need not exist."""
    return results / FIGURES / run_key


def draw_run(results: Path, scores: pa.Table, *, again: bool = False, draw_all: DrawAll | None = None) -> Path | None:
    """Draw the pictures of one run's score rows under `results` and return their folder; None if nothing varies.

    An existing folder is kept, since equal rows give equal pictures, and so is a single drawing that an earlier run of
    the recipe has; again: draw all of it, and replace what is there. draw_all: draws side by side; where it is None or
    says False this process draws, one after the other.
    Raises ResultsError for rows of several runs, and if the folder cannot be written to.
    """
    run_keys = sorted(set(scores.column("run_key").to_pylist()))
    if len(run_keys) != 1:
        raise ResultsError(
            f"a picture shows one run, not {len(run_keys)}: {', '.join(map(str, run_keys)) or 'no rows'}"
        )
    folder = figures_folder(results, str(run_keys[0]))
    if folder.is_dir() and not again:
        return folder
    found = scorer_results(scores)
    sketches = sketches_of(pictures_of(found))
    if not sketches:
        return None
    facts = facts_of(scores, found)
    keys = {sketch.name: key_of(sketch, facts) for sketch in sketches}
    there = {} if again else drawn_before(folder.parent, facts.recipe, keys)
    temporary = folder.with_name(f"{_temporary_prefix(folder)}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        try:
            _clear_up(folder)
            temporary.mkdir(parents=True)
            for name, earlier in there.items():
                for path in files_of(earlier, name):
                    shutil.copyfile(path, temporary / path.name)
            _draw([sketch for sketch in sketches if sketch.name not in there], facts, temporary, draw_all)
            note_keys(temporary, keys)
            _put(temporary, folder, again=again)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        room = "; free some space and draw again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise ResultsError(
            f"the pictures of {folder.name} could not be written to {folder.parent}: {error.strerror or error}; "
            f"the tables are as they were{room}"
        ) from error
    return folder


def write_drawings(sketches: Sequence[Sketch], facts: RunFacts, folder: Path) -> None:
    """Draw one after the other, into a folder. Raises OSError as writing there does."""
    # Imported lazily: it takes half a second, which a run with nothing to draw should not spend.
    from pgolf.report import figures

    for sketch in sketches:
        for ending, data in figures.draw(sketch, facts).files.items():
            (folder / f"{sketch.name}.{ending}").write_bytes(data)


def _draw(sketches: Sequence[Sketch], facts: RunFacts, folder: Path, draw_all: DrawAll | None) -> None:
    if sketches and (draw_all is None or not draw_all(sketches, facts, folder)):
        write_drawings(sketches, facts, folder)


def _clear_up(folder: Path) -> None:
    """Remove leftovers of this folder's killed writers on this host (the pids of other hosts mean nothing here)."""
    for left in folder.parent.glob(f"{glob.escape(_temporary_prefix(folder))}*.tmp"):
        writer = left.name.removeprefix(_temporary_prefix(folder)).partition("-")[0]
        if not Path(f"/proc/{writer}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _temporary_prefix(folder: Path) -> str:
    """Name prefix of the temporary folders made on this host."""
    return f".{folder.name}.{socket.gethostname()}."


def _put(temporary: Path, folder: Path, *, again: bool) -> None:
    """Rename the finished folder into place; keep one that another process put there first, unless `again`."""
    if again and folder.is_dir():
        old = temporary.with_suffix(".old.tmp")
        folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
        return
    with suppress(FileExistsError):
        try:
            temporary.rename(folder)
        except OSError as error:
            # A folder cannot be renamed onto a non-empty one.
            if error.errno != errno.ENOTEMPTY:
                raise
