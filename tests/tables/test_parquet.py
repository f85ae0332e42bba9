"""The result folder: append only, whole files only, old files readable, damage named."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgolf.errors import ResultsError
from pgolf.tables.parquet import append, read
from pgolf.tables.schema import ATTEMPTS, MOMENT, SCORES, SECONDS_BY_PHASE, STAGES, TABLES
from tests.score_rows import score_row

STAGE_ROW = {
    "recipe": "demo",
    "stage": "train",
    "node": "train.1",
    "key": "train-0123456789ab",
    "built": True,
    "wall_s": 12.5,
    "phases_s": {"warm-up": 2.0, "steps": 10.5},
    "started_utc": datetime(2025, 12, 1, 9, 30, tzinfo=UTC),
}


def test_what_is_read_is_what_was_appended(tmp_path):
    append(tmp_path, SCORES, "run1", [score_row(seed=1), score_row(seed=2, loss_nats=1.9)])
    table = read(tmp_path, SCORES)
    assert table.schema.equals(SCORES.arrow)
    assert table.column("seed").to_pylist() == [1, 2]
    assert table.column("loss_nats").to_pylist() == [2.0, 1.9]
    assert table.column("run_key").to_pylist() == ["run1", "run1"]
    assert table.column("started_utc").to_pylist() == [datetime(2025, 12, 1, 10, tzinfo=UTC)] * 2


def test_what_a_row_leaves_out_is_null_and_never_zero(tmp_path):
    append(tmp_path, SCORES, "run1", [score_row(mass_mean=None)])
    row = read(tmp_path, SCORES).to_pylist()[0]
    assert row["mass_mean"] is None
    assert row["train_clock_s"] is None
    assert row["audit_id"] is None


def test_seconds_by_phase_come_back_as_they_were(tmp_path):
    append(tmp_path, STAGES, "run1", [STAGE_ROW])
    assert dict(read(tmp_path, STAGES).column("phases_s")[0].as_py()) == STAGE_ROW["phases_s"]


def test_a_table_nobody_wrote_is_empty_and_has_its_columns(tmp_path):
    table = read(tmp_path / "nowhere", ATTEMPTS)
    assert table.num_rows == 0
    assert table.schema.equals(ATTEMPTS.arrow)


def test_a_run_appended_again_is_left_alone(tmp_path):
    first = append(tmp_path, SCORES, "run1", [score_row()])
    before = (first.read_bytes(), first.stat().st_mtime_ns)
    assert append(tmp_path, SCORES, "run1", [score_row(loss_nats=9.0)]) == first
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    assert read(tmp_path, SCORES).num_rows == 1


def test_runs_are_read_in_the_order_of_their_keys(tmp_path):
    for key in ("b", "a", "c"):
        append(tmp_path, SCORES, key, [score_row()])
    assert read(tmp_path, SCORES).column("run_key").to_pylist() == ["a", "b", "c"]


def test_no_rows_make_a_file_that_reads_as_no_rows(tmp_path):
    append(tmp_path, SCORES, "run1", [])
    assert read(tmp_path, SCORES).num_rows == 0


def test_only_the_columns_asked_for_come_back_in_their_order(tmp_path):
    append(tmp_path, SCORES, "run1", [score_row()])
    table = read(tmp_path, SCORES, {"estimator": "neural"}, columns=["seed", "bpb"])
    assert table.column_names == ["seed", "bpb"]
    assert table.num_rows == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bpd": 1.0}, "no column 'bpd'; did you mean bpb"),
        ({"zzz": 1.0}, "no column 'zzz'; it has run_key"),
        ({"seed": "first"}, "column seed .int64.: value 0 is 'first'"),
        ({"normalized": "maybe"}, "column normalized .bool.: value 0 is 'maybe'"),
        ({"loss_nats": float("nan")}, "column loss_nats .double.: value 0 is nan: a missing value is None"),
        ({"bpb": float("inf")}, "value 0 is inf"),
        ({"loss_nats": None}, "row 0 of table scores has no loss_nats"),
        ({"recipe": None}, "no recipe"),
        ({"started_utc": "yesterday"}, "value 0 is 'yesterday'"),
        ({"started_utc": "2025-12-01T10:00:00"}, "no time zone"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path, changed, message):
    with pytest.raises(ResultsError, match=message):
        append(tmp_path, SCORES, "run1", [score_row(**changed)])
    assert list(tmp_path.rglob("*.parquet")) == []


def test_two_rows_for_one_cell_are_refused(tmp_path):
    rows = [score_row(), score_row(seed=2), score_row(bpb=1.3)]
    with pytest.raises(ResultsError, match="rows 0 and 2 of table scores are both recipe demo"):
        append(tmp_path, SCORES, "run1", rows)


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "a b", "x" * 201, "é"])
def test_a_run_key_that_cannot_name_a_file_is_refused(tmp_path, key):
    with pytest.raises(ResultsError, match="cannot name a file"):
        append(tmp_path, SCORES, key, [score_row()])


def test_older_files_lack_columns_and_read_as_null(tmp_path):
    append(tmp_path, SCORES, "new", [score_row(seed=2, gpu="H100")])
    old = pa.table({"run_key": ["old"], "recipe": ["demo"], "seed": pa.array([1], pa.int32()),
                    "estimator": ["neural"], "loss_nats": [2.5], "targets": [10]})  # fmt: skip
    pq.write_table(old, tmp_path / "scores" / "old.parquet")
    table = read(tmp_path, SCORES)
    assert table.schema.equals(SCORES.arrow)
    assert table.column("gpu").to_pylist() == ["H100", None]
    assert read(tmp_path, SCORES, {"gpu": None}).column("run_key").to_pylist() == ["old"]


def test_columns_of_a_newer_version_are_left_out(tmp_path):
    path = append(tmp_path, SCORES, "run1", [score_row()])
    newer = pq.ParquetFile(path).read().append_column("later", pa.array([7]))
    pq.write_table(newer, path)
    assert read(tmp_path, SCORES).schema.equals(SCORES.arrow)


def test_a_column_of_another_type_is_named_with_its_file(tmp_path):
    path = append(tmp_path, SCORES, "run1", [score_row()])
    table = pq.ParquetFile(path).read()
    pq.write_table(table.set_column(table.column_names.index("seed"), "seed", pa.array(["one"])), path)
    with pytest.raises(ResultsError, match=r"run1\.parquet cannot be read as a scores table"):
        read(tmp_path, SCORES)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table at all, but long enough to be one"])
def test_a_file_that_is_no_table_is_named(tmp_path, content):
    append(tmp_path, SCORES, "good", [score_row()])
    (tmp_path / "scores" / "bad.parquet").write_bytes(content)
    with pytest.raises(ResultsError, match=r"bad\.parquet cannot be read.*delete it"):
        read(tmp_path, SCORES)


def test_another_tables_file_is_named(tmp_path):
    path = append(tmp_path, STAGES, "run1", [STAGE_ROW])
    (tmp_path / "scores").mkdir()
    shutil.copy(path, tmp_path / "scores" / "stray.parquet")
    with pytest.raises(ResultsError, match=r"stray\.parquet is no scores table: it lacks estimator, loss_nats"):
        read(tmp_path, SCORES)


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory) -> tuple[Path, bytes]:
    results = tmp_path_factory.mktemp("results")
    path = append(results, SCORES, "run1", [score_row(seed=seed) for seed in range(40)])
    return path, path.read_bytes()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_truncated_file_is_never_read(whole_file, data):
    path, content = whole_file
    keep = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:keep])
    with pytest.raises(ResultsError, match=r"run1\.parquet"):
        read(path.parents[1], SCORES)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_flipped_byte_among_the_rows_is_never_read_as_another_number(whole_file, data):
    path, content = whole_file
    path.write_bytes(content)
    expected = read(path.parents[1], SCORES)
    rows_end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place = data.draw(st.integers(0, rows_end - 1))
    flipped = bytearray(content)
    flipped[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(flipped)
    try:
        found = read(path.parents[1], SCORES)
    except ResultsError:
        return
    # A byte of a page's header that carries no meaning for the reader.
    assert found.equals(expected)


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path, monkeypatch):
    append(tmp_path, SCORES, "before", [score_row()])

    def no_space(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ResultsError, match=r"No space left on device.*free some space"):
        append(tmp_path, SCORES, "run1", [score_row()])
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["before.parquet"]
    assert read(tmp_path, SCORES).num_rows == 1


def _append_with_little_room(results: Path, row: dict[str, Any]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        append(results, SCORES, "run1", [row])
    except ResultsError:
        os._exit(7)


def test_a_write_the_system_cuts_short_leaves_no_file(tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=_append_with_little_room, args=(tmp_path, score_row())
    )
    process.start()
    process.join(60)
    assert process.exitcode == 7
    assert list((tmp_path / "scores").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "scores").write_text("a file where the folder should be")
    with pytest.raises(ResultsError, match="could not be written"):
        append(tmp_path, SCORES, "run1", [score_row()])


def test_what_a_killed_writer_left_is_no_part_of_the_table(tmp_path):
    append(tmp_path, SCORES, "run1", [score_row()])
    (tmp_path / "scores" / ".run2.parquet.77-abcd.tmp").write_bytes(b"half")
    assert read(tmp_path, SCORES).num_rows == 1


def test_writers_at_once_lose_no_rows_and_one_of_equals_stays(tmp_path):
    start = threading.Barrier(16)
    failures = []

    def write(number: int) -> None:
        start.wait()
        try:
            append(tmp_path, SCORES, "same", [score_row(seed=number)])
            append(tmp_path, SCORES, f"own{number}", [score_row(seed=number)])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert read(tmp_path, SCORES).num_rows == 17
    assert sorted(path.suffix for path in (tmp_path / "scores").iterdir()) == [".parquet"] * 17


def test_a_file_system_without_links_works_too(tmp_path, monkeypatch):
    def no_links(_source, _target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    append(tmp_path, SCORES, "run1", [score_row()])
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["run1.parquet"]


@pytest.mark.parametrize("name", TABLES)
def test_names_of_columns_end_in_their_unit(name):
    endings = {"s": "_s", "B": "bytes", "nats/token": "_nats", "bits/byte": "bpb", "UTC": "_utc"}
    spec = TABLES[name]
    for column in spec.columns:
        assert column.name.endswith(endings.get(column.unit, "")), column
        assert column.meaning
    assert {*spec.required, *spec.identity} <= set(spec.arrow.names)
    assert spec.arrow.names[0] == "run_key"


def test_columns_that_published_files_hold_keep_their_type():
    # A column may be added; changing one here would make older files unreadable.
    assert SCORES.arrow.field("seed").type == pa.int64()
    assert SCORES.arrow.field("loss_nats").type == pa.float64()
    assert SCORES.arrow.field("started_utc").type == MOMENT
    assert STAGES.arrow.field("phases_s").type == SECONDS_BY_PHASE
