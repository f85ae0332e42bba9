"""What a run's trial of its own scorers is asked: the declared ones, and nothing that another grid would change."""

import json

import pytest

from pgolf.audit.named_scorers import named_scorers
from pgolf.mix.cells import cells_of
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.own_trial import own_trial
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.overrides import apply_overrides


def trial_of(name: str, *overrides: str):
    return own_trial(apply_overrides(recipe_named(name), list(overrides)))


def tried(name: str, *overrides: str) -> list[dict[str, object]]:
    trial = trial_of(name, *overrides)
    assert trial is not None
    named = named_scorers(trial.mix, trial.by_estimator, trial.hint)
    return [json.loads(one.name) for one in named if one.normalized]


def test_the_network_and_the_declared_distribution_are_tried():
    network, headline = tried("demo")
    assert network == {"estimator": "neural"}
    wanted = {"estimator": "exact", "mixer": "backoff", "order": 5, "alpha": 0.4, "min_count": 2}
    assert headline.items() >= wanted.items()


def test_mixtures_of_mixtures_are_tried_over_the_members_that_they_have():
    found = tried("demo", 'mix.bayes=[{}, {"share_rate": 0.1}]')
    assert [one["estimator"] for one in found] == ["neural", "exact", "bayes", "bayes"]
    # The network, and the grid's exact cells: fixed 4 · 5, backoff 4 · 5, adaptive 4.
    assert found[2]["members"] == 1 + 20 + 20 + 4


def test_what_is_no_distribution_is_not_tried():
    assert [one["estimator"] for one in tried("pr745-tiny")] == ["neural", "hedge"]
    assert [one["estimator"] for one in tried("pr638-tiny")] == ["neural"]
    assert [one["estimator"] for one in tried("demo", "estimators=hashed")] == ["neural"]


def test_another_grid_around_the_headline_is_the_same_trial_and_another_headline_is_not():
    usual = trial_of("demo")
    assert trial_of("demo", "mix.alphas=0.05,0.4", "mix.mixers=backoff,dirichlet") == usual
    assert trial_of("demo", "mix.alphas=0.3,0.4", "headline.alpha=0.3") != usual
    assert trial_of("demo", "audit.effort=thorough") != usual


def test_what_may_not_be_ranked_is_not_tried():
    assert trial_of("pr761-tiny") is None
    assert trial_of("pr761-tiny", "score.ttt.order=score_first") is not None
    assert trial_of("demo", "audit=null") is None


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_has_one_trial_last_of_all_on_its_first_seed(name):
    recipe = recipe_named(name)
    names = [node.name for node in pipeline(recipe)]
    trials = [name for name in names if name.startswith("audit")]
    assert trials == ([] if "761" in name else [names[-1]])
    assert trials in ([], [f"audit[{recipe.seeds[0]}]"])


@pytest.mark.parametrize(
    "overrides",
    [
        ("mix.mixers=fixed,adaptive", "headline.mixer=adaptive", "mix.entropy_ranges=0.3,0.55", "mix.min_counts=3,2"),
        ("mix.mixers=fixed", 'mix.also=[{"mixers": ["backoff"], "alphas": [0.4], "min_counts": [4, 2]}]'),
        ("mix.orders=2,5", "mix.alphas=0.1,0.4", "mix.min_counts=5,1"),
        ("mix.mixers=fixed", 'mix.also=[{"mixers": ["backoff"], "estimators": ["hashed"], "alphas": [0.4]}]'),
    ],
)
def test_the_tried_headline_is_the_cell_that_rows_call_the_headline(overrides):
    """By the definition: of all cells in the grid's order the first that fits, as `_mark_headline` takes it."""
    recipe = apply_overrides(recipe_named("demo"), list(overrides))
    counts = {name: recipe.count.of(name) for name in recipe.estimators}
    wanted = {"estimator": "exact", **recipe.headline.settings}
    cells = cells_of(recipe.mix, counts, recipe.hinted)
    first = next((cell for cell in cells if all(getattr(cell, name) == wanted[name] for name in wanted)), None)
    trial = own_trial(recipe)
    assert trial is not None
    [_, tried_cell] = cells_of(trial.mix, trial.by_estimator)
    assert first in (tried_cell, None)
    assert (first is None) == ("hashed" in overrides[-1])
