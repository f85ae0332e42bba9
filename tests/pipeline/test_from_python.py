"""The way in from Python: the example of the docs, and what it does with mistakes."""

import re
from pathlib import Path

import pytest

import pgolf
from pgolf.errors import ConfigError, ResultsError
from pgolf.pipeline import from_python
from pgolf.tables.named_runs import runs_in
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
