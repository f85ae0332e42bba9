"""A name that another run has is refused before any work; the same configuration may run again under its own."""

from dataclasses import replace

import pytest

from pgolf.identity.fingerprint import digest
from pgolf.pipeline.taken_name import taken
from pgolf.recipes.asked import asked_recipe
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.changed import default_name, is_named
from pgolf.tables.named_runs import Run, name_run
from pgolf.tables.parquet import append
from pgolf.tables.schema import SCORES
from tests.score_rows import score_row

DATA = {1: "text of the first", 2: "text of the second"}
KEY = "demo-1a2b3c4d5e6f"


def asked(*overrides, name=None, seeds=(1, 2), recipe="demo"):
    return asked_recipe(recipe_named(recipe), overrides, {"run_name": name, "seeds": seeds})


@pytest.fixture
def results(tmp_path):
    """The tables of one run, called wide."""
    recipe = asked("model.width=64", name="wide")
    rows = [score_row(seed=seed, config_key=digest(data)) for seed, data in DATA.items()]
    append(tmp_path, SCORES, KEY, rows)
    run = Run(key=KEY, recipe="demo", recipe_key=None, name="wide", base="demo", changed={})
    name_run(tmp_path, replace(run, config=recipe.model_dump(mode="json")))
    return tmp_path


def why(results, recipe, data=DATA):
    return taken(recipe, results, lambda: data)


def test_the_same_configuration_runs_again_under_its_name_with_another_note(results):
    again = asked("model.width=64", "notes=again", "tags=x", name="wide")
    assert why(results, again) is None
    assert taken(again, results, None) is None


def test_what_nothing_reads_makes_it_no_other_configuration(results):
    assert why(results, asked("model.width=64", "train.crownq_bits=6", name="wide")) is None


@pytest.mark.parametrize(
    ("recipe", "data"),
    [
        (asked("model.width=96", name="wide"), DATA),
        (asked("mix.alphas=0.4", "model.width=64", name="wide"), DATA),
        (asked("model.width=64", name="wide", seeds=(1,)), {1: DATA[1]}),
        (asked("model.width=64", name="wide"), DATA | {2: "another text"}),
        (asked("model.width=64", name="wide").model_copy(update={"name": "mine"}), DATA),
    ],
)
def test_another_configuration_seed_text_or_recipe_is_refused_with_the_way_out(results, recipe, data):
    said = why(results, recipe, data)
    assert said == (
        f"wide is what {KEY} is called; take another name, or first give that one another: pgolf rename {KEY} NAME"
    )


@pytest.mark.parametrize("name", [KEY, "demo-1a2b", "1a2b3c"])
def test_a_name_that_is_read_as_another_run_s_key_is_refused(results, name):
    assert "of another run" in why(results, asked("model.width=64", name=name))


def test_names_that_say_the_settings_are_nobody_s_choice(results):
    recipe = asked("model.width=96")
    assert recipe.run_name == "demo width=96"
    many = asked("model.width=96", "mix.alphas=0.4", "train.steps=9", "count.orders=5", "headline.order=5")
    append(results, SCORES, "demo-999999999999", [score_row()])
    for unnamed in (recipe, many, asked(), asked(name="demo"), recipe_named("demo")):
        assert not is_named(unnamed)
        run = Run(
            key="demo-999999999999", recipe="demo", recipe_key=None, name=unnamed.run_name or default_name(unnamed)
        )
        name_run(results, run)
        assert why(results, unnamed) is None
    assert all(is_named(asked(name=name)) for name in ("demo2", "demo no gate", "demo-5", "x", "my demo"))


def test_a_name_for_a_run_elsewhere_is_free(tmp_path):
    assert why(tmp_path / "none", asked("model.width=96", name="wide")) is None
