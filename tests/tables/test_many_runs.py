"""Tables of many runs: read as one file and ranked by whole columns, and the same as one by one."""

import os
import random
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pgolf.errors import ResultsError
from pgolf.tables import parquet, ranked
from pgolf.tables.gates import DECLARED, GATES, RULESET
from pgolf.tables.parquet import append, read, rows_to_arrow
from pgolf.tables.ranked import found_by_looking, legacy_scores, ranking, scorer_results
from pgolf.tables.schema import SCORES


def rows_of(run: int, draw: random.Random) -> list[dict]:
    """Scores of one run: seeds run again, unjudged gates, missing numbers, ties."""
    return [
        {
            "run_key": f"run-{run}",
            "recipe": draw.choice(("demo", "other")),
            "recipe_key": draw.choice(("a" * 64, "b" * 64, None)),
            "seed": seed,
            "estimator": draw.choice(("exact", "neural")),
            "order": draw.choice((2, 3, None)),
            "alpha": draw.choice((0.1, 0.2, None)),
            "cell": str(cell),
            "loss_nats": draw.choice((0.5, draw.random())),
            "bpb": draw.choice((1.0, 1.5, draw.random(), draw.random(), None)),
            "mass_mean": draw.choice((1.0, None)),
            "targets": 100,
            "total_bytes": draw.randrange(1000),
            "started_utc": draw.choice((None, f"2026-01-{draw.randint(1, 28):02d}T00:00:00+00:00")),
            **{gate: draw.choice((True, True, True, False, None)) for gate in ("normalized", "causal", "fits_budget")},
            "val_sha256": "1" * 64,
            "ruleset": draw.choice((RULESET, "older", None)),
            "declared": draw.choice((True, False, None)),
            "declared_before_scoring": draw.choice((True, True, False, None)),
            "interrupted": draw.choice((False, False, True, None)),
        }
        for seed in (1, 2)
        for cell in range(8)
    ]


@pytest.mark.parametrize("top", [None, 0, 1, 5, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_the_lists_are_what_looking_at_every_scorer_one_by_one_gives(seed, top):
    draw = random.Random(seed)
    table = pa.concat_tables(rows_to_arrow(SCORES, rows_of(run, draw)) for run in range(12))
    results = scorer_results(table)
    passing = [each for each in results if all(each.gate(gate) for gate in GATES) and each.summary("bpb")]
    passing.sort(key=ranked._mean_bpb)
    shown = ranking(table, top=top)
    assert [row[-3] for row in shown.rows] == [each.summary("loss_nats").mean for each in passing[:top]]
    assert f"left out: {len(results) - len(passing)} scorers" in " ".join(shown.notes)

    def declared_first(each):
        return each.gate("declared") is not True, ranked._mean_bpb(each)

    asked = [gate for gate in GATES if gate != DECLARED]
    looked = [each for each in results if all(each.gate(gate) for gate in asked) and each.summary("bpb")]
    looked = sorted((each for each in looked if not each.gate(DECLARED)), key=declared_first)
    found = found_by_looking(table, top=top)
    assert [row[-2] for row in found.rows] == [each.summary("loss_nats").mean for each in looked[:top]]
    legacy = sorted((each for each in results if each.gate("normalized") is False), key=declared_first)
    found = legacy_scores(table, top=top)
    assert [row[-3] for row in found.rows] == [each.summary("loss_nats").mean for each in legacy[:top]]


def test_many_files_are_read_as_one_until_one_of_them_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "FEW_FILES", 3)
    draw = random.Random(0)
    for run in range(6):
        rows = [{name: value for name, value in row.items() if name != "run_key"} for row in rows_of(run, draw)]
        append(tmp_path, SCORES, f"run-{run}", rows)
    one_by_one = rows_to_arrow(SCORES, [])
    opened = []
    read_file = parquet._read_file
    monkeypatch.setattr(parquet, "_read_file", lambda path, *rest: opened.append(path.name) or read_file(path, *rest))
    first = read(tmp_path, SCORES)
    assert len(opened) == 6
    assert first.schema == one_by_one.schema
    opened.clear()
    assert read(tmp_path, SCORES) == first
    assert read(tmp_path, SCORES, columns=["bpb"]) == first.select(["bpb"])
    assert opened == []
    append(tmp_path, SCORES, "run-6", rows)
    assert read(tmp_path, SCORES).num_rows == first.num_rows + len(rows)
    assert opened == ["run-6.parquet"]
    for run in range(7, 10):  # too many for the gathering: it is made anew, of what it has and of what it lacks
        append(tmp_path, SCORES, f"run-{run}", rows)
    opened.clear()
    assert read(tmp_path, SCORES).num_rows == first.num_rows + 4 * len(rows)
    assert sorted(opened) == ["run-6.parquet", "run-7.parquet", "run-8.parquet", "run-9.parquet"]
    opened.clear()
    assert read(tmp_path, SCORES, run_keys="run-1") == first.filter(pc.equal(first["run_key"], "run-1"))
    assert opened == ["run-1.parquet"]
    for run in range(7, 10):
        (tmp_path / "scores" / f"run-{run}.parquet").unlink()
    (tmp_path / "scores" / "run-2.parquet").unlink()
    assert "run-2" not in read(tmp_path, SCORES).column("run_key").to_pylist()
    damaged = tmp_path / "scores" / "run-3.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ResultsError, match=r"run-3\.parquet cannot be read"):
        read(tmp_path, SCORES)
    os.unlink(damaged)
    (tmp_path / ".gathered" / "scores").write_bytes(b"nothing of the kind")
    assert read(tmp_path, SCORES).num_rows == first.num_rows - len(rows)


def test_other_readers_of_the_tables_folder_see_every_row_once(tmp_path, monkeypatch):
    """A program of their own, whichever way they find the files: none may depend on skipping hidden names."""
    monkeypatch.setattr(parquet, "FEW_FILES", 3)
    draw = random.Random(0)
    for run in range(6):
        rows = [{name: value for name, value in row.items() if name != "run_key"} for row in rows_of(run, draw)]
        append(tmp_path, SCORES, f"run-{run}", rows)
    former = tmp_path / "scores" / ".gathered.parquet"
    shutil.copy(tmp_path / "scores" / "run-0.parquet", former)  # as an earlier version left it
    expected = read(tmp_path, SCORES).num_rows
    assert (tmp_path / ".gathered" / "scores").is_file()
    assert expected == 6 * 16
    program = f"""
import glob
from pathlib import Path
import pandas, pyarrow.dataset, pyarrow.parquet
results = Path({str(tmp_path)!r})
folder = results / "scores"
print(pyarrow.dataset.dataset(folder, ignore_prefixes=[]).count_rows())
print(pyarrow.dataset.dataset(results, format="parquet").count_rows())
print(len(pandas.read_parquet(folder)))
for pattern in ("scores/*", "scores/*.parquet", "scores/.*.parquet", "**/*.parquet"):
    files = glob.glob(str(results / pattern), recursive=True, include_hidden=True)
    print(sum(pyarrow.parquet.ParquetFile(file).metadata.num_rows for file in files))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert [int(word) for word in done.stdout.split()] == [expected] * 4 + [expected, 0, expected]
