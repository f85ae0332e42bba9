"""The way in from Python: the example of the docs, and what it does with mistakes."""

import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import pgolf
from pgolf.errors import ConfigError, ResultsError
from pgolf.pipeline import from_python
from pgolf.tables import parquet, unreadable
from pgolf.tables.named_runs import runs_in
from pgolf.tables.parquet import append
from pgolf.tables.removed import remove_run
from pgolf.tables.schema import SCORES
from tests.score_rows import score_row
from tests.tiny import TINY, write_documents

EXAMPLE = Path(__file__).parents[2] / "docs/python.md"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What the example of the docs leaves behind: its names, what it printed, its folder. The recipe is a tiny one."""
    folder = tmp_path_factory.mktemp("python")
    sources = write_documents(folder)
    printed = []
    tiny = dict(setting.split("=", 1) for setting in TINY)

    def small(recipe, **given):
        places = {"documents": sources.documents, "store": folder / "artifacts", "results": folder / "results"}
        given["set"] = {**tiny, **given.get("set", {})}
        return from_python.run(recipe, **places, **given, say=lambda text: printed.append(f"say: {text}"))

    code = "\n".join(re.findall(r"```python\n(.*?)```", EXAMPLE.read_text(), re.DOTALL))
    code = code.replace("from pgolf import load_results, run", "from pgolf import load_results")
    code = code.replace("load_results(", f"load_results({str(folder / 'results')!r}, ")
    names = {"run": small, "print": lambda *values: printed.append(" ".join(map(str, values)))}
    exec(compile(code, str(EXAMPLE), "exec"), names)
    return names, printed, folder


def test_the_example_of_the_docs_runs_as_written(ran):
    names, printed, _ = ran
    assert names["mixed"].name == "mixed"
    assert any("demo equals" in line or "mixed equals" in line for line in printed)
    assert len(names["best"]) == 5


def test_a_run_trains_nothing_again_and_says_what_it_does(ran):
    _, printed, _ = ran
    told = [line for line in printed if line.startswith("say: ")]
    assert sum(line.startswith("say: ▸ train[") for line in told) == 2
    assert "say: ✓ train[1]  reused" in told
    assert any(line.startswith("say: ✓ mix[2]  ") and line.endswith(" s") for line in told)


def test_scores_are_the_rows_of_the_tables(ran):
    names, _, folder = ran
    base = names["base"]
    filed = pgolf.load_results(folder / "results", where=[f"run_key={base.key}"])
    assert sorted(filed.bpb) == sorted(base.scores.bpb)
    assert set(base.scores.seed) == {1, 2}
    assert {run.key for run in runs_in(folder / "results")} == {base.key, names["mixed"].key}


@pytest.fixture
def tables(ran, tmp_path):
    """A copy of the results, in which the second run was removed."""
    results = tmp_path / "results"
    shutil.copytree(ran[2] / "results", results)
    remove_run(results, next(run for run in runs_in(results) if run.name == "mixed"))
    return results


def run_again(folder, results, **given):
    """Another grid on the same trainings, so that the mixtures and the pages are made anew."""
    tiny = dict(setting.split("=", 1) for setting in TINY)
    settings = {**tiny, "mix.alphas": 0.4, "mix.mixers": "fixed", "headline.mixer": "fixed", **given.pop("set", {})}
    places = {"documents": folder / "docs.jsonl", "store": folder / "artifacts", "results": results}
    return from_python.run("demo", seeds=[1, 2], set=settings, **places, **given)


def test_every_table_that_a_run_reads_at_its_end_was_looked_at_before_its_first_stage(ran, tables, monkeypatch):
    there, looked_at, read_at_last, said = {*tables.rglob("*.parquet")}, set(), set(), []
    content_of, read_file = unreadable._content, parquet._read_file
    monkeypatch.setattr(unreadable, "_content", lambda path: looked_at.add(path) or content_of(path))

    def reading(path, *arguments):
        if any(line.startswith("▸") for line in said):
            read_at_last.add(path)
        return read_file(path, *arguments)

    monkeypatch.setattr(parquet, "_read_file", reading)
    run_again(ran[2], tables, say=said.append)
    assert read_at_last & there <= looked_at
    kinds = {path.parent.name for path in read_at_last & there}
    assert kinds >= {"scores", "stages", "runs", "declarations", "seeds", "losses", "samples"}
    assert any(".removed" in path.parts for path in read_at_last & there)


def test_a_name_is_for_one_configuration_which_may_run_again_under_it(ran, tables):
    again = run_again(ran[2], tables, name="steep", say=lambda _line: None)
    assert run_again(ran[2], tables, name="steep", say=lambda _line: None).key == again.key
    said = []
    with pytest.raises(ConfigError, match=f"steep is what {again.key} is called; .*: pgolf rename {again.key} NAME"):
        run_again(ran[2], tables, name="steep", set={"mix.alphas": 0.3}, say=said.append)
    assert not [line for line in said if line.startswith("▸")]


@pytest.mark.parametrize(
    ("table", "advice"),
    [
        *((name, "delete it, and run the recipe again") for name in ("scores", "attempts", "stages", "samples")),
        *((name, "restore it from a copy: it is the proof of what was declared") for name in ("declarations", "seeds")),
        ("runs", "name the run again with `pgolf rename`"),
        (".removed/*/scores", "of that removed run is then forgotten"),
    ],
)
def test_a_damaged_table_stops_a_run_before_its_first_stage(ran, tables, table, advice, capsys):
    damaged = next(tables.glob(f"{table}/*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    said = []
    with pytest.raises(ConfigError, match=f"{damaged} cannot be read as a .*{advice}"):
        run_again(ran[2], tables, set={"mix.alphas": 0.3}, say=said.append)
    assert not [line for line in said if line.startswith("▸")]


def test_a_notebook_shows_summary_and_figures_without_a_file(ran):
    shown = ran[0]["mixed"]._repr_html_()
    assert shown.startswith("<pre>")
    assert shown.count("<svg") == len(ran[0]["mixed"].figures) > 0
    assert "<?xml" not in shown


def test_a_run_is_compared_with_runs_and_with_names(ran):
    mixed, base = ran[0]["mixed"], ran[0]["base"]
    by_run, by_name = mixed.compare(base, scorer="network"), mixed.compare(base.key, scorer="network")
    assert by_run.data() == by_name.data()
    assert by_run.gains[0].documents is not None
    with pytest.raises(ConfigError, match="compare with what"):
        mixed.compare()
    with pytest.raises(ConfigError, match="is in two of the arms"):
        mixed.compare(mixed)


def test_mistakes_are_messages(tmp_path):
    places = {"store": tmp_path / "store", "results": tmp_path / "results"}
    with pytest.raises(ConfigError, match="demo"):
        pgolf.run("dmeo", **places)
    with pytest.raises(ConfigError, match=r"train\.steps"):
        pgolf.run("demo", set={"train.stepps": 3}, **places)
    with pytest.raises(ConfigError, match="there is no table 'score'"):
        pgolf.load_results(tmp_path, table="score")
    with pytest.raises(ConfigError, match=r"model\.width=3 is about a setting"):
        pgolf.load_results(tmp_path, where=["model.width=3"])
    with pytest.raises(ResultsError, match="did you mean bpb"):
        pgolf.load_results(tmp_path, where=["bpbb<3"])
    with pytest.raises(ResultsError, match=r"there are no results at .*nowhere"):
        pgolf.load_results(tmp_path / "nowhere")


def test_places_are_those_of_the_environment_unless_named(tmp_path, monkeypatch):
    """What one way in has made the other reuses, so both look in the same places."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGOLF_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PGOLF_RESULTS", str(tmp_path / "tables"))
    seen = []

    @contextmanager
    def seen_only(_recipe, place, *_stores, **_options):
        seen.append(place)
        raise ConfigError("seen")
        yield

    monkeypatch.setattr(from_python, "run_ready", seen_only)
    for given in ({}, {"store": "own", "results": "mine"}, {"store": "s3://bucket/x"}):
        with pytest.raises(ConfigError, match="seen"):
            pgolf.run("demo", **given)
    assert [place.results for place in seen] == [tmp_path / "tables", tmp_path / "mine", tmp_path / "tables"]
    assert [place.store for place in seen[:2]] == [tmp_path / "store", tmp_path / "own"]
    assert seen[2].remote == "s3://bucket/x"
    with pytest.raises(ResultsError, match=f"there are no results at {tmp_path / 'tables'}.*PGOLF_RESULTS"):
        pgolf.load_results()
    append(tmp_path / "tables", SCORES, "r", [score_row(seed=1), score_row(seed=2)])
    assert list(pgolf.load_results(where="seed=2").seed) == [2], "one condition is one, and not its letters"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"recipe": 3}, "recipe: 3 is a int; give a recipe's name"),
        ({"set": ["train.steps=3"]}, r"set: \['train.steps=3'\] is a list; give settings by their dotted names"),
        ({"set": {"train.steps": object()}}, "set: train.steps is <object .*, which no setting holds"),
        ({"set": {"mix.alphas": np.array([0.4, 7.0])}}, r"mix.alphas.1: Input should be less than or equal to 1"),
        ({"seeds": [True]}, "seeds.0: Input should be a valid integer"),
        ({"seeds": {"a": 1}}, "seeds: .* is a dict; give whole numbers"),
        ({"seeds": 42, "name": " x"}, "cannot be typed as a name"),
        ({"tags": [3]}, r"tags: \[3\] is a list; give texts"),
        ({"name": True}, "name: True is a bool; give text"),
        ({"store": 3}, "store: 3 is a int; give a path"),
        ({"data": b"x"}, "data: b'x' is a bytes; give a path"),
        ({"device": None}, "device: None is a NoneType; give auto, cpu or cuda"),
        ({"say": "print"}, "say: 'print' is a str; give a function"),
    ],
)
def test_arguments_of_other_kinds_are_messages(tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(from_python, "run_ready")
    with pytest.raises(ConfigError, match=says):
        pgolf.run(**{"recipe": "demo", **given})


def test_what_is_compared_is_a_run_or_its_name(ran):
    for other in (None, 3, ran[0]["best"]):
        with pytest.raises(ConfigError, match="give a run, or the name of one in the same tables"):
            ran[0]["mixed"].compare(other)
    with pytest.raises(ConfigError, match=r"select_on: '0\.5' is a str; give a share"):
        ran[0]["mixed"].compare(ran[0]["base"], select_on="0.5")
