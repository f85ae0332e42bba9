"""Before a run every table is looked at; what Arrow has once found whole, it is not asked of again."""

import os

import pytest

from pgolf.tables import parquet, unreadable
from pgolf.tables.file_names import GATHERED
from pgolf.tables.parquet import append
from pgolf.tables.schema import SCORES
from tests.score_rows import score_row
from tests.tables.test_seal import unsealed

RUNS = [f"run{number}" for number in range(4)]


@pytest.fixture
def asked(monkeypatch):
    """Names of the files that Arrow is asked of, as they are."""
    asked = []
    read_file = parquet._read_file
    monkeypatch.setattr(parquet, "_read_file", lambda path, *rest: asked.append(path.name) or read_file(path, *rest))
    return asked


@pytest.fixture
def older(tmp_path):
    """Files of an earlier version, which have no seal, beside one of now."""
    append(tmp_path, SCORES, "sealed", [score_row()])
    paths = [append(tmp_path, SCORES, run, [score_row()]) for run in RUNS]
    for path in paths:
        path.write_bytes(unsealed(path.read_bytes()))
    return paths


def looked_at(results, asked):
    """What is wrong with the tables, and which of them Arrow had to be asked of."""
    asked.clear()
    found = unreadable.unreadable(results, most=5)
    return found, [name.removesuffix(".parquet") for name in asked]


def test_a_file_without_a_seal_is_opened_once(tmp_path, older, asked):
    assert looked_at(tmp_path, asked) == ([], RUNS)
    assert looked_at(tmp_path, asked) == ([], [])


def test_a_file_that_was_whole_and_is_damaged_is_named_whatever_its_times_say(tmp_path, older, asked):
    looked_at(tmp_path, asked)
    content, times = older[2].read_bytes(), older[2].stat()
    older[2].write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    os.utime(older[2], ns=(times.st_atime_ns, times.st_mtime_ns))
    for _ in range(2):
        [complaint], opened = looked_at(tmp_path, asked)
        assert complaint.startswith(f"{older[2]} cannot be read as a scores table")
        assert opened == ["run2"]
    older[2].write_bytes(content)
    assert looked_at(tmp_path, asked) == ([], [])


def test_only_the_code_that_found_a_file_whole_goes_by_what_it_found(tmp_path, older, asked, monkeypatch):
    looked_at(tmp_path, asked)
    monkeypatch.setattr(unreadable, "_code_that_looks", lambda: "of another version")
    assert looked_at(tmp_path, asked) == ([], RUNS)
    assert looked_at(tmp_path, asked) == ([], [])
    monkeypatch.setattr(unreadable, "_code_that_looks", str)  # nobody knows which
    assert looked_at(tmp_path, asked) == looked_at(tmp_path, asked) == ([], RUNS)


def test_a_whole_file_is_whole_in_its_own_table_alone(tmp_path, older, asked):
    looked_at(tmp_path, asked)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "run1.parquet").write_bytes(older[1].read_bytes())
    [complaint], opened = looked_at(tmp_path, asked)
    assert "run1.parquet is no stages table" in complaint
    assert opened == ["run1"]


def test_what_is_kept_is_kept_beside_a_damaged_file_and_may_be_lost(tmp_path, older, asked):
    older[3].write_bytes(b"PAR1")
    assert looked_at(tmp_path, asked)[1] == RUNS
    assert looked_at(tmp_path, asked)[1] == RUNS[3:]
    (tmp_path / GATHERED / "unsealed").write_bytes(b"nothing of the kind")
    assert looked_at(tmp_path, asked)[1] == RUNS
    assert looked_at(tmp_path, asked)[1] == RUNS[3:]
    assert unreadable.unreadable(tmp_path / "not there", most=5) == []
    assert not (tmp_path / "not there").exists()
