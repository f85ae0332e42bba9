"""A changed bit of a result table is an error that names the file; older files without a seal are read as they are."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import flips
from pgolf.errors import ResultsError
from pgolf.tables.gates import GATES
from pgolf.tables.parquet import append, read
from pgolf.tables.ranked import ranking
from pgolf.tables.schema import SCORES
from pgolf.tables.seal import is_sealed, sealed
from tests.score_rows import score_row

SEAL_BYTES = 64


@pytest.fixture
def path(tmp_path) -> Path:
    return append(tmp_path, SCORES, "run1", [score_row(seed=seed, interrupted=True) for seed in range(3)])


def unsealed(content: bytes) -> bytes:
    """As an earlier version wrote the same rows."""
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    older = content[: end - SEAL_BYTES] + content[end:]
    assert sealed(older) == content
    return older


def rewrite(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)
    assert not is_sealed(path.read_bytes())


def test_every_bit_of_the_seal_and_some_of_all_others_count(path):
    content = path.read_bytes()
    assert is_sealed(content)
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    draw = random.Random(0)
    bits = [*range(8 * (end - SEAL_BYTES), 8 * end), *(draw.randrange(8 * len(content)) for _ in range(2000))]
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="not those that were written"):
            is_sealed(bytes(changed))


@pytest.mark.parametrize("place", range(0, 4000, 250))
@pytest.mark.parametrize("fill", [0, 255])
def test_a_lost_sector_is_an_error_wherever_it_lies(path, place, fill):
    """The seal itself may lie in it."""
    content = bytearray(path.read_bytes())
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place += end - SEAL_BYTES - 2000
    if place < 0:
        pytest.skip("before the beginning of the file")
    content[place : place + 512] = bytes([fill]) * len(content[place : place + 512])
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"run1\.parquet cannot be read as a scores table: .*delete it"):
        read(path.parents[1], SCORES)


@pytest.fixture(scope="module")
def targets(tmp_path_factory) -> Iterator[dict[str, flips.Target]]:
    with flips.gathering():
        yield flips.made_up_tables(tmp_path_factory.mktemp("flips"))


@pytest.mark.parametrize(
    ("name", "outcome"), [("table", "refused"), ("table's footer", "refused"), ("gathered", "right")]
)
def test_a_flipped_bit_is_named_with_its_file_or_what_was_gathered_is_gathered_again(targets, name, outcome):
    assert {found for _bit, found in flips.flipped(targets[name], 30, seed=5)} == {outcome}


def test_a_file_of_an_earlier_version_is_read(path):
    rows = read(path.parents[1], SCORES)
    path.write_bytes(unsealed(path.read_bytes()))
    assert read(path.parents[1], SCORES).equals(rows)


def test_a_column_that_a_changed_bit_hides_in_an_older_file_is_missed(path):
    content = unsealed(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place = content.index(b"interrupted", footer)
    path.write_bytes(content[:place] + b"interrupteD" + content[place + 11 :])
    with pytest.raises(ResultsError, match=r"run1\.parquet cannot be read .* differ in 'interrupteD', 'interrupted'"):
        read(path.parents[1], SCORES)


@pytest.mark.parametrize("column", sorted({gate.column for gate in GATES.values()}))
def test_a_file_that_lacks_the_column_of_a_gate_is_never_ranked(tmp_path, column):
    rows = [
        score_row(seed=seed, estimator="exact", interrupted=False, declared_before_scoring=True) for seed in range(3)
    ]
    path = append(tmp_path, SCORES, "run1", rows)
    assert ranking(read(tmp_path, SCORES)).rows
    rewrite(path, pq.ParquetFile(path).read().drop_columns(column))
    if column == "interrupted":
        with pytest.raises(ResultsError, match=r"run1\.parquet is no scores table: it lacks interrupted; delete it"):
            read(tmp_path, SCORES)
    else:
        assert not ranking(read(tmp_path, SCORES)).rows


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_named_and_not_waited_for(path, make):
    make(path.with_name("run2.parquet"))
    with pytest.raises(ResultsError, match=r"run2\.parquet cannot be read .*, not a regular file"):
        read(path.parents[1], SCORES)


def test_a_program_that_rewrites_a_file_leaves_the_seal_out_and_its_rows_are_read(path):
    rewrite(path, pq.ParquetFile(path).read())
    assert read(path.parents[1], SCORES).num_rows == 3


def test_other_programs_read_a_sealed_file(path):
    program = f"""
import pandas, pyarrow.dataset, pyarrow.parquet
path = {str(path)!r}
print(pandas.read_parquet(path)["seed"].tolist())
print(pyarrow.parquet.read_table(path)["seed"].to_pylist())
print(pyarrow.dataset.dataset(path).to_table()["seed"].to_pylist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["[0, 1, 2]"] * 3


def test_a_copy_of_a_sealed_file_is_whole(path, tmp_path):
    shutil.copy(path, tmp_path / "copy")
    assert is_sealed((tmp_path / "copy").read_bytes())
