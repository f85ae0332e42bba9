"""Which folders of results refer to a store: noted in the store by every run, asked one and all before deleting.

A note says where the results lie, on which machine, and which outputs they name. Tables only grow, so results that are
gone, that cannot be read, or that name less than they did, are a mistake until somebody says otherwise.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pgolf.errors import ConfigError, ResultsError, StoreError
from pgolf.identity.fingerprint import digest
from pgolf.machine.hardware import host_name
from pgolf.store.artifact import Store
from pgolf.store.durable_folder import make_folder
from pgolf.store.shared import SharedStore
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES, STAGES


class Note(BaseModel):
    """What is known of one folder of results. path: absolute, without links; relative: from the store's own folder.

    outputs: folders of the store that its tables name.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: Path
    relative: Path | None
    host: str
    noted_utc: str
    outputs: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the note is called: one per machine and path."""
        return digest([self.host, str(self.path)])[:16]


@dataclass(frozen=True, slots=True)
class Referring:
    """Results that were asked. path: where they were read; None for those of another machine, kept as they were noted.

    outputs: what they name.
    """

    note: Note
    path: Path | None
    outputs: frozenset[str]


def note_results(store: Store, results: Path) -> str | None:
    """Remember that these results refer to the store, and what they name so far; what was noted before stays.

    Returns why it could not be noted, None where it was. What cannot be read is left to the next collection, which
    stops at it. Raises ResultsError where there can be no such folder.
    """
    try:
        make_folder(results)
    except OSError as error:
        raise ResultsError(f"{results} cannot be made: {error.strerror}; name another folder with --results") from None
    named: frozenset[str] = frozenset()
    with suppress(ResultsError):
        named = named_by(results)
    note = _note_of(store, results.resolve(), named)
    before = next((content for name, content in store.notes() if name == note.name), None)
    if before is not None:
        known = _parsed(store, note.name, before)
        if set(note.outputs) <= set(known.outputs):
            return None
        note = note.model_copy(update={"outputs": tuple(sorted({*known.outputs, *note.outputs}))})
    try:
        store.write_note(note.name, note.model_dump_json(indent=1).encode())
    except StoreError as error:
        return (
            f"{results} could not be noted as results of this store, and `pgolf gc` will not know of them unless they "
            f"are named with --results: {error}"
        )
    return None


def named_by(results: Path) -> frozenset[str]:
    """The outputs that the tables of a folder name. Raises ResultsError where they cannot be read, or contradict."""
    for folder in (results, results / STAGES.name, results / SCORES.name):
        try:
            with os.scandir(folder) as entries:
                next(entries, None)
        except FileNotFoundError:
            if folder == results or folder.is_symlink():
                raise ResultsError(f"there are no results at {folder}") from None
        except OSError as error:
            raise ResultsError(f"{folder} cannot be read as a folder of results: {error.strerror}") from None
    named = frozenset(folder for folder in read(results, STAGES, columns=["folder"])["folder"].to_pylist() if folder)
    scores = [path for path in (results / SCORES.name).glob("*.parquet") if path.name[0] != "."]
    if scores and not named:
        raise ResultsError(
            f"{results / STAGES.name} names no output, but {results / SCORES.name} has the scores of {len(scores)} "
            "runs; bring its files back"
        )
    return named


def ask_results(store: Store, given: Sequence[Path], forgotten: Sequence[Path]) -> tuple[list[Referring], list[str]]:
    """All results that refer to the store, those that are given among them, and the names of notes to forget.

    Raises ConfigError with the path and what to do where noted results are gone, cannot be read, or do not name any
    more what they named while the store has it still.
    """
    away = {way: path for path in forgotten for way in ways_to_say(path)}
    here = {record.folder for record in store.records()} | {path.name for path in store.artifacts()}
    found: list[Referring] = []
    forget, unknown = [], set(forgotten)
    for name, content in store.notes():
        note = _parsed(store, name, content)
        if note.path in away:
            forget.append(name)
            unknown.discard(away[note.path])
        else:
            found.append(_elsewhere(note) if note.host != host_name() else _asked(store, note, here))
    if unknown:
        known = ", ".join(sorted({str(item.note.path) for item in found})) or "none"
        raise ConfigError(f"--forget {sorted(unknown)[0]}: the store has no note of these results; it knows {known}")
    read_already = {item.path for item in found}
    for results in given:
        path = results.resolve()
        if path not in read_already:
            try:
                named = named_by(path)
            except ResultsError as error:
                raise ConfigError(str(error)) from None
            found.append(Referring(_note_of(store, path, named), path, named))
    return found, forget


def ways_to_say(path: Path) -> set[Path]:
    """The path without links, wholly and but for its end: that may have become a link since it was noted."""
    return {path.resolve(), path.parent.resolve() / path.name, Path(os.path.abspath(path))}


def remember(store: Store, referring: Sequence[Referring], forget: Sequence[str]) -> None:
    """Note all that was asked as it is now, and then forget the rest. Raises StoreError."""
    known = dict(store.notes())
    written, old = set(), [*forget]
    for item in referring:
        if item.path is not None:
            note = _note_of(store, item.path, item.outputs)
            written.add(note.name)
            old.append(item.note.name)  # where it lies elsewhere now
            if not (note.name in known and _says_alike(_parsed(store, note.name, known[note.name]), note)):
                store.write_note(note.name, note.model_dump_json(indent=1).encode())
    for name in old:
        if name not in written:
            store.drop_note(name)


def _says_alike(known: Note, note: Note) -> bool:
    return known.model_copy(update={"noted_utc": note.noted_utc}) == note


def _elsewhere(note: Note) -> Referring:
    """Results of another machine: what was noted stays, and what can be read here besides is no less needed."""
    more: frozenset[str] = frozenset()
    with suppress(ResultsError, OSError):
        more = named_by(note.path)
    return Referring(note, None, more.union(note.outputs))


def _asked(store: Store, note: Note, here: set[str]) -> Referring:
    path = next((path for path in _places(store, note) if os.path.lexists(path)), note.path)
    try:
        named = named_by(path)
    except ResultsError as error:
        raise ConfigError(f"{error}; {_what_to_do(note)}") from None
    lost = sorted(here.intersection(note.outputs) - named)
    if lost:
        which = ", ".join(lost[:3]) + (" …" if len(lost) > 3 else "")
        raise ConfigError(
            f"{path} names {len(named):,} outputs, and {len(lost):,} no more that it named on {note.noted_utc[:10]} "
            f"and that the store has still: {which}; {_what_to_do(note)}"
        )
    return Referring(note, path, named)


def _places(store: Store, note: Note) -> Iterator[Path]:
    """Where noted results may lie: where they were, or, where store and results were moved, as seen from the store."""
    yield note.path
    if note.relative is not None:
        yield (store.root.resolve() / note.relative).resolve()


def _what_to_do(note: Note) -> str:
    return (
        f"nothing is deleted until that is settled: {len(note.outputs):,} outputs of the store were made for these "
        f"results. Bring them back (is a disk not mounted?); or, where they lie elsewhere now, add --results NEW "
        f"--forget {note.path}; or give up what they named with --forget {note.path}"
    )


def _note_of(store: Store, path: Path, outputs: frozenset[str]) -> Note:
    relative = None if isinstance(store, SharedStore) else Path(os.path.relpath(path, store.root.resolve()))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Note(path=path, relative=relative, host=host_name(), noted_utc=now, outputs=tuple(sorted(outputs)))


def _parsed(store: Store, name: str, content: bytes) -> Note:
    try:
        return Note.model_validate_json(content)
    except ValueError:
        raise StoreError(
            f"referring/{name}.json of {store.root} is damaged: it says which results need what. Name all folders of "
            "results with --results after removing it"
        ) from None
