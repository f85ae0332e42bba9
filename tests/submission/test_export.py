"""A run as a submission's folder: its files agree with the tables, and what breaks a rule is refused."""

import errno
import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pgolf.errors import ConfigError
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.outcome import outcome_of
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.changed import changed_settings
from pgolf.recipes.overrides import apply_overrides
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from pgolf.submission.entry import Entry, SeedEntry, gather
from pgolf.submission.export import export, log_name, model_name, refuse_taken
from pgolf.submission.folder_files import JSON, README, REQUIREMENTS, SCRIPT
from pgolf.submission.readme_text import readme_text
from pgolf.submission.refusals import refusals
from pgolf.submission.submission_json import gap, submission_json
from pgolf.submission.unfinished import unfinished
from pgolf.tables.declared_seeds import MissingSeed
from pgolf.tables.filters import parse_conditions
from pgolf.tables.how_to_run import whole_commands
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES
from tests.tiny import tiny_recipe, write_documents

SEEDS = (1, 2, 3)
# Of a command in a sentence: without them it would run another configuration.
SETTINGS = f"with the {len(changed_settings(tiny_recipe()))} settings that were declared"
TOLD = {"author": "A. Other", "github_id": "another", "name": "Tiny", "blurb": "a test"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with the store and the tables of a tiny run of three seeds."""
    folder = tmp_path_factory.mktemp("exported")
    sources = write_documents(folder)
    recipe = tiny_recipe("seeds=1,2,3")
    nodes = pipeline(recipe, sources)
    artifacts = build_all(nodes, Store(folder / "store"), Memo(folder / "memo"), RunOptions(device="cpu"))
    outcome = outcome_of(recipe, nodes, artifacts, folder / "results", built={node.name: 1.0 for node in nodes})
    outcome.file(folder / "results")
    return folder


@pytest.fixture(scope="module")
def entry(made) -> Entry:
    """It as a submission, the network alone: the headline was declared by nobody."""
    return gather("demo", made / "results", Store(made / "store"), scorer="network", told=TOLD)


def with_row(entry: Entry, seed: int, **values: object) -> Entry:
    """The entry with other values in one seed's row."""

    def changed(one: SeedEntry) -> SeedEntry:
        return replace(one, row={**one.row, **values}) if one.seed == seed else one

    return replace(entry, seeds=tuple(map(changed, entry.seeds)))


def logs_of(entry: Entry) -> dict[int, str]:
    """What each seed's script would have printed, as far as the folder's checks read it."""
    return {
        one.seed: f"log of {one.seed}\nval_loss:{one.row['loss_nats']!r} val_bpb:{one.row['bpb']!r}\n"
        for one in entry.seeds
    }


def test_every_number_of_the_folder_is_the_tables(entry, made, tmp_path):
    logs = logs_of(entry)
    done = export(entry, tmp_path / "out", logs=logs, refused=[], reproduced="Done.", on=date(2026, 5, 2))
    rows = {row["seed"]: row for row in read(made / "results", SCORES, {"estimator": "neural"}).to_pylist()}
    said = json.loads((tmp_path / "out" / JSON).read_text())
    for seed, row in rows.items():
        one = said["seed_results"][str(seed)]
        assert (one["val_loss"], one["val_bpb"]) == (row["loss_nats"], row["bpb"])
        model = tmp_path / "out.models" / model_name(seed)
        assert one["artifact_bytes"] == model.stat().st_size
        assert one["total_bytes"] == model.stat().st_size + (tmp_path / "out" / SCRIPT).stat().st_size
        assert (tmp_path / "out" / log_name(seed)).read_text() == logs[seed]
    assert said["val_bpb"] == pytest.approx(np.mean([row["bpb"] for row in rows.values()]), rel=1e-15)
    assert said["val_bpb_std"] == pytest.approx(np.std([row["bpb"] for row in rows.values()], ddof=1), rel=1e-12)
    assert said["bytes_total"] == max(one["total_bytes"] for one in said["seed_results"].values())
    assert said["bytes_code"] == (tmp_path / "out" / SCRIPT).stat().st_size
    assert (said["seeds"], said["track"], said["date"]) == ([1, 2, 3], "track_10min_16mb", "2026-05-02")
    assert {name: said[name] for name in TOLD} == TOLD
    text = (tmp_path / "out" / README).read_text()
    for row in rows.values():
        assert f"| {row['loss_nats']:.8f} | {row['bpb']:.8f} |" in text
    names = {line.partition("==")[0] for line in (tmp_path / "out" / REQUIREMENTS).read_text().splitlines()}
    assert {"torch", "numpy", "pyarrow"} <= names
    assert "pgolf" not in names
    assert {path.name for path in done.folder.iterdir()} == {SCRIPT, JSON, README, REQUIREMENTS, *map(log_name, SEEDS)}
    assert (tmp_path / "out.map.json").is_file()


@pytest.mark.parametrize("clock_s", [0.35, 0.25, 331.75, 0.05, 9.95, 1e-7])
def test_json_and_readme_agree_on_seconds_that_end_in_a_five(entry, tmp_path, clock_s):
    """A float of these digits may lie on either side of them; who reads the files has the digits alone."""
    half = with_row(entry, 3, eval_clock_s=clock_s, train_clock_s=clock_s)
    done = export(half, tmp_path / "out", logs=logs_of(half), refused=[], reproduced="", on=date(2026, 5, 2))
    assert json.loads((done.folder / JSON).read_text())["seed_results"]["3"]["eval_time_s"] == clock_s


def test_a_submission_keeps_the_rules_or_says_which_it_breaks(entry):
    assert refusals(entry) == []
    compliance = submission_json(entry, is_record=True, on=date(2026, 5, 2))["compliance"]
    assert all(value for name, value in compliance.items())


@pytest.mark.parametrize(
    ("seed", "values", "says"),
    [
        (2, {"total_bytes": 16_000_001}, "seed 2: 16,000,001 B, 1 over 16,000,000"),
        (1, {"train_clock_s": 600.04}, "seed 1: training and calibration took 600.0 s of 600"),
        (3, {"train_clock_s": 607.1}, "seed 3: training and calibration took 607.1 s of 600"),
        (1, {"eval_clock_s": 695.0}, "seed 1: the evaluation took 695.0 s of 600"),
        (1, {"eval_clock_s": None}, "seed 1: nobody has measured how long the evaluation took"),
        (1, {"interrupted": True}, r"was killed and went on: remove train-\w+ from the store, and"),
        (2, {"bytes_verified": None}, "seed 2: nobody has verified that the"),
        (2, {"bytes_verified": False}, "seed 2: nobody has verified that the"),
        (3, {"normalized": False}, r"seed 3: network is no code length \(its probabilities do not sum to 1\)"),
        (3, {"causal": None}, r"seed 3: network is no code length \(a score depends on later text\): export with"),
        (2, {"recipe_key": "f" * 64}, "the seeds are of 2 configurations"),
        (2, {"config_key": "f" * 64}, "the seeds are of 2 configurations: run all of them with one: pgolf run demo --"),
        (2, {"code_bytes": 17}, r"the rows count 17, [\d,]+ B of code, and its script has [\d,]+ B today"),
    ],
)
def test_what_breaks_a_rule_is_told_with_its_number(entry, seed, values, says):
    [said] = refusals(with_row(entry, seed, **values))
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(said)
    compliance = submission_json(with_row(entry, seed, **values), is_record=False, on=date(2026, 5, 2))
    assert compliance["track"] == "track_non_record_16mb"


def test_two_seeds_are_too_few(entry):
    [said] = refusals(replace(entry, seeds=entry.seeds[:2]))
    assert said == f"2 seeds, and a record takes 3: pgolf run demo --seeds 1,2,… {SETTINGS}"


def test_a_headline_chosen_after_scoring_is_refused(made):
    late = gather("demo", made / "results", Store(made / "store"), scorer="headline")
    [said] = refusals(late)
    assert "and may be chosen by its score" in said
    assert late.told == {}
    assert submission_json(late, is_record=True, on=date(2026, 5, 2))["author"] == gap("author")


def test_bytes_of_code_that_are_not_those_of_the_script_end_an_export_before_a_file_is_there(entry, tmp_path):
    """As rows say them that another program's code has made; every other number agrees."""
    other = entry
    for one in entry.seeds:
        row = one.row
        other = with_row(other, one.seed, code_bytes=row["code_bytes"] + 1, total_bytes=row["total_bytes"] + 1)
    with pytest.raises(ConfigError, match="code_bytes says") as refused:
        export(other, tmp_path / "out", logs=logs_of(other), refused=[], reproduced="", on=date(2026, 5, 2))
    assert "bytes on disk" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_is_there_is_written_over(entry, tmp_path, monkeypatch):
    logs = dict.fromkeys(SEEDS, "")
    for name in ("out", "out.models", "out.map.json"):
        (tmp_path / name).mkdir()
        with pytest.raises(ConfigError, match=rf"{name} is there already; remove it, or name a new folder"):
            export(entry, tmp_path / "out", logs=logs, refused=[], reproduced="", on=date(2026, 5, 2))
        (tmp_path / name).rmdir()
    with pytest.raises(ConfigError, match="its parent folder"):
        export(entry, tmp_path / "no" / "out", logs=logs, refused=[], reproduced="", on=date(2026, 5, 2))
    # Said before minutes in the clean room; root may write whatever the mode says.
    monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == tmp_path and mode & os.W_OK))
    with pytest.raises(ConfigError, match=rf"its parent folder {tmp_path} may not be written to; name one that may"):
        refuse_taken(tmp_path / "out")
    with pytest.raises(ConfigError, match="/ is no new folder; name one"):
        export(entry, Path("/"), logs=logs, refused=[], reproduced="", on=date(2026, 5, 2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_export_that_fails_while_it_is_put_in_its_place_leaves_nothing(entry, tmp_path, number, monkeypatch):
    logs = {one.seed: f"val_loss:{one.row['loss_nats']!r} val_bpb:{one.row['bpb']!r}\n" for one in entry.seeds}
    rename, done = os.rename, []

    def fails(made: Path, to: Path) -> None:
        done.append(to)
        if len(done) == number:
            raise OSError(errno.ENOSPC, "no space left", str(to))
        rename(made, to)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(OSError, match="no space left"):
        export(entry, tmp_path / "out", logs=logs, refused=[], reproduced="", on=date(2026, 5, 2))
    assert list(tmp_path.iterdir()) == []
    assert done[number - 1] == [tmp_path / "out.map.json", tmp_path / "out.models", tmp_path / "out"][number - 1]


def test_outputs_that_are_gone_are_said_with_what_makes_them(made, tmp_path):
    again = f"make it again: pgolf run demo --seeds 1,2,3 {SETTINGS}"
    with pytest.raises(ConfigError, match=rf"seed 1: \S+ is gone; {again}"):
        gather("demo", made / "results", Store(tmp_path / "empty"), scorer="network")


@pytest.mark.parametrize(
    ("lacking", "says"),
    [
        ({"estimator": "neural", "seed": 2}, "seed 2: its rows have no score of the network alone; file them again: "),
        ({"bpb": None, "seed": 2}, r"seed 2: nobody knows how many bytes of text its [\d,]+ targets are, so it has no"),
    ],
)
def test_rows_without_a_score_that_a_submission_needs_are_said(made, tmp_path, lacking, says):
    results = tmp_path / "results"
    shutil.copytree(made / "results", results)
    [path] = (results / "scores").glob("*.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    if "bpb" in lacking:
        rows = [row | {"bpb": None} if row["seed"] == lacking["seed"] else row for row in rows]
    else:
        rows = [row for row in rows if any(row[name] != value for name, value in lacking.items())]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(ConfigError, match=says):
        gather("demo", results, Store(made / "store"), scorer=parse_conditions(["estimator=exact"], ""))


def test_seeds_that_other_code_has_made_are_refused(entry):
    def by_other_code(one: SeedEntry, stage: str) -> SeedEntry:
        output = one.artifacts[f"{stage}[{one.seed}]"]
        record = output.record.model_copy(update={"key": output.record.key | {"code": {"pgolf.train": "0" * 64}}})
        return replace(one, artifacts={**one.artifacts, f"{stage}[{one.seed}]": replace(output, record=record)})

    for stage in ("train", "calibrate", "compress"):
        seeds = (by_other_code(entry.seeds[0], stage), *entry.seeds[1:])
        [said] = refusals(replace(entry, seeds=seeds))
        assert said.startswith(f"{stage} of seeds 1 and 2, 3 has 2 codes or libraries: run all by one: pgolf run demo")


def test_a_declared_seed_that_is_not_filed_shows_in_every_file(entry):
    when = datetime(2026, 5, 1, tzinfo=UTC)
    lacking = MissingSeed(seed=42, config_key="", recipe="demo", declared_utc=when, base="demo")
    arm = replace(entry.arm, missing=(lacking,), elsewhere=(7,), n_declared=5)
    fewer = replace(entry, arm=arm)
    refused = refusals(fewer)
    [missing, elsewhere] = refused
    assert missing.startswith("demo: seed 42 was declared 2026-05-01 00:00 UTC and has no result")
    assert elsewhere.startswith("declared seed 7 is left out, and other runs have its result: ")
    assert elsewhere.endswith(f": pgolf run demo --seeds 1,2,3,7 {SETTINGS}")
    text = readme_text(fewer, refused=refused, reproduced="")
    assert "3 of 5 seeds" in text
    assert "| 7 | left out |" in text
    assert "| 42 | no result |" in text
    assert submission_json(fewer, is_record=False, on=date(2026, 5, 2))["seeds_without_result"] == [42]
    whole = readme_text(entry, refused=[], reproduced="")
    assert "no result" not in whole
    assert "3 seeds;" in whole


def test_the_command_of_a_submission_runs_its_settings(entry):
    [command] = re.findall(r"^pgolf run .*$", readme_text(entry, refused=[], reproduced=""), re.MULTILINE)
    words = shlex.split(command)
    settings = [after for word, after in pairwise(words) if word == "--set"]
    assert words[:3] == ["pgolf", "run", "demo"]
    assert words[-2:] == ["--seeds", "1,2,3"]
    assert apply_overrides(recipe_named("demo"), [*settings, "seeds=1,2,3"]) == entry.recipe
    assert whole_commands("mine", "demo", {"train.steps": 5, "mix.mixers": ["fixed"]}, "1,2") == [
        """pgolf new mine.toml --from demo --set train.steps=5 --set 'mix.mixers=["fixed"]'""",
        "pgolf run mine.toml --seeds 1,2",
    ]


def test_what_a_killed_export_left_goes_and_what_is_being_written_stays(tmp_path):
    out = tmp_path / "out"
    with unfinished(out) as killed:
        shutil.copytree(killed, tmp_path / ".out.unfinished-left")
        (tmp_path / ".out.unfinished-another").mkdir()  # not ours, or without its lock yet
        with unfinished(out) as other:
            assert killed.is_dir()
            assert other.is_dir()
            assert not (tmp_path / ".out.unfinished-left").exists()
            assert (tmp_path / ".out.unfinished-another").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [".out.unfinished-another"]
