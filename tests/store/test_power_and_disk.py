"""A disk that fails at any one change, and power that goes after any: nothing half-written is ever opened, what was
reported is there, the error is ours, and a rerun ends with the same bytes.
"""

import errno
import hashlib
import shutil
from pathlib import Path

import pytest

from pgolf.errors import PgolfError
from pgolf.pipeline.graph import Node
from pgolf.pipeline.status import StatusFile
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Store, build_once
from pgolf.store.content import Memo
from pgolf.store.scratch import load
from pgolf.tables.parquet import append, read
from pgolf.tables.schema import SCORES
from tests.score_rows import score_row
from tests.store.failing_disk import Hook, failing, ignore, watched
from tests.store.power_loss import Moment, Recorder, states
from tests.toy_stage import TOY, ToyConfig, toy_key

KEYS = {f"toy[{seed}]": toy_key(ToyConfig(text=f"text {seed}"), seed=seed) for seed in (1, 2)}
ROWS = [score_row(seed=1), score_row(seed=2)]
DONE = {"rows", *KEYS}
TEXT = "a file from outside\n"


def run(folder: Path, reported: set[str] | None = None) -> None:
    """Build two outputs and file their rows, as a run does. reported: names what is done."""
    reported = set() if reported is None else reported
    outside = folder.parent / "outside.txt"
    outside.write_text(TEXT)
    store, memo = Store(folder / "store"), Memo(folder / "store" / ".sources.sqlite")
    assert memo.sha256(outside) == hashlib.sha256(TEXT.encode()).hexdigest()
    for name, key in KEYS.items():
        node = Node(name=name, stage=TOY, config=key.config)
        options = RunOptions()
        with StatusFile(store.root, key.folder, options) as status:
            build_once(
                store,
                TOY,
                key,
                node=name,
                inputs={},
                parents={},
                run=options,
                on_build=lambda node=node, status=status: status.building(node),
            )
        reported.add(name)
    memo.save()
    store.save_memo()
    assert {record.node for record in store.records()} <= {*KEYS}
    append(folder / "results", SCORES, "run1", ROWS)
    reported.add("rows")


def found_in(folder: Path) -> dict[str, object]:
    """Payloads by output and the rows, as they are read; a damaged output is no state that a run may leave."""
    store, found = Store(folder / "store"), {}
    for name, key in KEYS.items():
        output = store.look(key)
        assert output is None or isinstance(output, Artifact), output
        found[name] = output and {name: (output.path / name).read_bytes() for name in output.record.files}
        assert load(store.unfinished(key) / "begun") in (None, b"1")
    return found | {"rows": read(folder / "results", SCORES).to_pylist()}


def assert_nothing_is_half(folder: Path, whole: dict[str, object], reported: set[str]) -> None:
    for name, found in found_in(folder).items():
        assert found == whole[name] or (not found and name not in reported), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    folder.mkdir()
    run(folder)
    return folder


@pytest.fixture(scope="module")
def whole(undisturbed) -> dict[str, object]:
    return found_in(undisturbed)


@pytest.fixture(scope="module")
def changes(tmp_path_factory) -> list[tuple[str, str]]:
    """What a run changes, in order."""
    found: list[tuple[str, str]] = []
    folder = tmp_path_factory.mktemp("changes") / "run"
    folder.mkdir()
    with watched(folder, ignore, lambda kind, path: found.append((kind, path))):
        run(folder)
    kinds = {kind for kind, _path in found}
    assert {"open", "write", "fsync", "mkdir", "unlink", "replace", "link"} <= kinds
    return found


def run_on(folder: Path, before: Hook) -> str:
    """Run on a failing disk; returns what it came to. Every error is one for the user."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with watched(folder, before):
            run(folder)
    except PgolfError as error:
        return str(error)
    return "done"


# errno, and whether all that follows fails too.
FAULTS = ((errno.ENOSPC, False), (errno.EIO, False), (errno.EIO, True))
# So many of them are tried with every change, and so many states looked at of every moment: all take minutes.
TRIED, LOOKED_AT = 1, 1


def test_a_disk_that_fails_at_any_change_leaves_nothing_half_and_a_rerun_completes(tmp_path, whole, changes):
    for number, (kind, path) in enumerate(changes):
        for extra in range(TRIED):
            code, and_on = FAULTS[(number + extra) % len(FAULTS)]
            folder = tmp_path / f"{number} {extra}" / "run"
            try:
                told = run_on(folder, failing(number, code, and_on=and_on))
                assert_nothing_is_half(folder, whole, DONE if told == "done" else set())
                assert run_on(folder, ignore) == "done"
                assert_nothing_is_half(folder, whole, DONE)
            except Exception as error:
                error.add_note(f"{kind} of {path} failed with {errno.errorcode[code]}; {folder}")
                raise


def test_a_file_that_cannot_be_read_ends_no_run_with_an_error_that_is_not_ours(tmp_path, undisturbed, whole):
    folder, read_files = tmp_path / "run", []
    shutil.copytree(undisturbed, folder)
    with watched(folder, lambda kind, path: read_files.append(path) if kind == "read" else None):
        run(folder)
    for number, path in enumerate(read_files):
        shutil.rmtree(folder)
        shutil.copytree(undisturbed, folder)
        try:
            run_on(folder, failing(number, errno.EIO, reads=True))
            assert run_on(folder, ignore) == "done"
            assert_nothing_is_half(folder, whole, DONE)
        except Exception as error:
            error.add_note(f"{path} could not be read")
            raise


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> list[tuple[Moment, set[str]]]:
    """Each moment of a run, and what it had reported by then."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    folder.mkdir()
    recorder, reported, found = Recorder(folder), set[str](), []

    def after(kind: str, path: str) -> None:
        recorder.after(kind, path)
        found.append((recorder.moments[-1], set(reported)))

    with watched(folder, ignore, after):
        run(folder, reported)
        (folder / "the end").touch()
    recorder.end()
    return found


def test_power_lost_at_any_moment_leaves_nothing_half_and_all_that_was_reported_and_a_rerun_completes(
    tmp_path, whole, recorded
):
    assert recorded[-1][1] == DONE
    for number, (moment, reported) in enumerate(recorded):
        found = list(states(moment, 8, seed=100 * number))
        for name, write in [found[(number * LOOKED_AT + extra) % len(found)] for extra in range(LOOKED_AT)]:
            folder = tmp_path / f"{number} {name}" / "run"
            folder.parent.mkdir()
            write(folder)
            try:
                assert_nothing_is_half(folder, whole, reported)
                assert run_on(folder, ignore) == "done"
                assert_nothing_is_half(folder, whole, DONE)
            except Exception as error:
                error.add_note(f"after {moment.after}: {name}; {folder}")
                raise
