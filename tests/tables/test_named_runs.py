"""Runs by name: the latest name counts, what is not unique is asked for, and settings come with them."""

from dataclasses import replace

import pytest

from pgolf.errors import ConfigError, ResultsError
from pgolf.tables.labels import labelled
from pgolf.tables.named_runs import Run, name_run, run_named, runs_in, settings_that_differ, with_given_name
from pgolf.tables.parquet import append, read
from pgolf.tables.schema import RUNS, SCORES
from tests.score_rows import score_row

A = Run(
    key="demo-0123456789ab",
    recipe="demo",
    recipe_key="a" * 64,
    name="plain",
    base="demo",
    config={"model": {"width": 128, "gated_attention": True}, "seeds": [1, 2]},
)
B = replace(
    A,
    key="demo-fedcba987654",
    recipe_key="b" * 64,
    name="no gate",
    changed={"model.gated_attention": False},
    config={"model": {"width": 128, "gated_attention": False}, "seeds": [1, 2]},
    tags=("ablation",),
    note="with the old tokenizer",
)


@pytest.fixture
def results(tmp_path):
    for run in (A, B):
        append(tmp_path, SCORES, run.key, [score_row(recipe="demo", recipe_key=run.recipe_key, seed=1)])
        name_run(tmp_path, run)
    return tmp_path


def told(run):
    return replace(run, named_utc=None)


def test_what_was_named_is_read_back_and_naming_alike_adds_nothing(results):
    assert list(map(told, runs_in(results))) == [A, B]
    name_run(results, A)
    assert len(list((results / RUNS.name).iterdir())) == 2


def test_the_latest_name_counts_whatever_the_clock_says(results):
    for name in ("first", "second", "plain"):
        name_run(results, replace(A, name=name))
        assert [run.name for run in runs_in(results)] == [name, "no gate"]


def test_a_run_of_an_earlier_version_is_called_by_its_key(tmp_path):
    append(tmp_path, SCORES, "demo-aaaabbbbcccc", [score_row(recipe="demo")])
    (run,) = runs_in(tmp_path)
    assert (run.name, run.named_utc, run.config) == ("demo-aaaabbbbcccc", None, {})
    assert run_named("aaaab", [run]) is run


@pytest.mark.parametrize(
    ("text", "run"),
    [("plain", A), ("no gate", B), ("demo-0123456789ab", A), ("demo-f", B), ("0123", A), ("fedcba987654", B)],
)
def test_names_keys_and_their_beginnings_name_a_run(text, run):
    assert run_named(text, [A, B]) is run


def test_a_configuration_as_tables_write_it_names_its_run():
    first, second = replace(A, recipe_key="9be8caf9" + 56 * "0"), replace(B, recipe_key="9be8ffff" + 56 * "0")
    assert run_named("demo@9be8caf9", [first, second]) is first
    with pytest.raises(ConfigError, match=r"2 runs are of demo@9be8: .*demo-0123456789ab"):
        run_named("demo@9be8", [first, second])


def test_what_names_several_or_none_is_told():
    with pytest.raises(
        ConfigError, match=r"2 runs have keys that begin with demo: .*demo-0123456789ab.*name one by its key"
    ):
        run_named("demo", [A, B])
    with pytest.raises(ConfigError, match=r"2 runs are called plain: .*`pgolf rename demo-\w+ NAME`"):
        run_named("plain", [A, replace(B, name="plain")])
    with pytest.raises(ConfigError, match=r"no run no-gate; did you mean 'no gate'"):
        run_named("no-gate", [A, B])
    with pytest.raises(ConfigError, match=r"no run plian; did you mean plain\?$"):
        run_named("plian", [A, replace(B, name="plain")])
    with pytest.raises(ConfigError, match=r"no run plain; there is none here, `pgolf run RECIPE` makes one"):
        run_named("plain", [])
    for text in ("", "x"):
        with pytest.raises(ConfigError, match=r"no run .*; there are plain, demo-0123456789ab, 'no gate'"):
            run_named(text, [A, B])


def test_settings_that_differ_are_those_that_somebody_changed():
    assert settings_that_differ([A, B]) == ["model.gated_attention"]
    assert settings_that_differ([B]) == []


def test_configurations_of_one_recipe_go_by_the_names_of_their_runs(results):
    table = read(results, SCORES)
    assert labelled(table, runs_in(results)).column("recipe").to_pylist() == ["plain", "no gate"]
    assert labelled(table.slice(0, 1), runs_in(results)).column("recipe").to_pylist() == ["demo"]
    name_run(results, replace(B, name="plain"))
    assert labelled(table, runs_in(results)).column("recipe").to_pylist() == ["demo", "demo"]


def test_settings_that_are_no_json_name_their_file(results):
    row = {"run": A.key, "recipe": "demo", "name": "bad", "config": "{", "named_utc": "2999-01-01T00:00:00+00:00"}
    append(results, RUNS, f"{A.key}-later", [row])
    with pytest.raises(ResultsError, match=r"runs: what demo-0123456789ab-later says of its settings is no JSON"):
        runs_in(results)


def test_a_repeated_run_does_not_bring_back_a_name_that_was_given_up(results):
    name_run(results, replace(A, name="heavier", tags=("idea",), note="see the tutorial"))
    again = with_given_name(results, A)  # called by what it changes, as the first time
    assert (again.name, again.tags, again.note) == ("heavier", ("idea",), "see the tutorial")
    other = with_given_name(results, replace(A, name="third", tags=("new",)))
    assert (other.name, other.tags, other.note) == ("third", ("new",), "see the tutorial")
    unknown = replace(A, key="demo-000000000000")
    assert with_given_name(results, unknown) == unknown


def test_settings_differ_though_nobody_changed_them_and_silent_runs_say_nothing():
    one, other = (replace(A, changed={}, config={"model": {"width": w}, "seeds": [w]}) for w in (128, 256))
    assert settings_that_differ([one, other]) == ["model.width"]
    assert settings_that_differ([one, replace(other, config={})]) == []
    without, hinted = (replace(A, changed={}, config={"hint": hint}) for hint in (None, {"orders": [3], "window": 64}))
    assert settings_that_differ([without, hinted]) == ["hint"]
