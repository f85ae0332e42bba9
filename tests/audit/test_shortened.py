"""A run's scorers with shorter rows: the same scorers, and short enough for a trial of any system."""

import pytest

from pgolf.audit.audit_config import AuditConfig
from pgolf.audit.named_scorers import named_scorers
from pgolf.audit.shortened import shortened, shortened_names
from pgolf.errors import ConfigError
from pgolf.eval.ttt_config import LoraConfig, TttConfig
from pgolf.pipeline.own_trial import own_trial
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe

# What takes targets, or tokens, at a time in some system.
MORE = (
    "hint={}",
    'mix.bayes=[{"chunk_targets": 4096}, {"share_rate": 0.01}]',
    "mix.mixers=fixed,dirichlet,tilt",
    "score.batch_windows=null",
)


def with_everything(*overrides: str) -> Recipe:
    return apply_overrides(recipe_named("pr715"), [*MORE, *overrides])


def normalized(trial: AuditConfig) -> list[str]:
    return [one.name for one in named_scorers(trial.mix, trial.by_estimator, trial.hint) if one.normalized]


def trial_of(recipe: Recipe) -> AuditConfig:
    trial = own_trial(recipe)
    assert trial is not None
    return trial


@pytest.mark.parametrize("name", [name for name in RECIPES if "761" not in name])
def test_every_systems_trial_is_of_short_rows_and_of_few_targets(name):
    trial = trial_of(recipe_named(name))
    short = shortened(trial)
    assert short.score.window == min(128, trial.score.window)
    assert short.score.window % short.score.stride == 0
    assert short.least_targets <= 640
    assert short.least_targets <= 384 or not isinstance(short.score.ttt, TttConfig)
    assert {(one.window, one.stride) for one in short.counts} <= {(short.score.window, short.score.stride)}
    for hedge in short.mix.hedges:
        assert hedge.batch_means in (None, short.score.batch_means)
    if isinstance(short.score.ttt, TttConfig):
        assert isinstance(trial.score.ttt, TttConfig)
        lengths = {"chunk_tokens", "sequence_length", "groups", "epochs"}
        assert short.score.ttt.epochs == min(2, trial.score.ttt.epochs)
        assert short.score.ttt.model_dump(exclude=lengths) == trial.score.ttt.model_dump(exclude=lengths)
        assert short.least_targets / short.score.ttt.chunk_tokens >= 2


def test_delays_chunks_and_adapters_are_shortened_too():
    lora = 'score.ttt={"kind": "lora", "chunk_targets": 48}'
    trial = trial_of(
        with_everything("score.tail=once", "count.tail=once", "hint.tail=once", lora, "audit.longest_row=64")
    )
    short = shortened(trial)
    assert trial.hint is not None
    assert trial.hint.delay_targets == 2048
    assert short.hint is not None
    assert short.hint.delay_targets == 64
    assert [own.chunk_targets for own in short.mix.bayes] == [64, 1]
    assert isinstance(short.score.ttt, LoraConfig)
    assert short.score.ttt.chunk_targets == 32


def test_rows_that_are_short_enough_stay_as_they_are():
    demo = trial_of(recipe_named("demo")).model_copy(update={"longest_row": None})
    assert shortened(demo) is demo
    long = demo.model_copy(update={"longest_row": 4096})
    assert shortened(long).model_dump(exclude={"scorers"}) == long.model_dump(exclude={"scorers"})


def test_names_with_shorter_rows_are_of_the_same_scorers_in_order():
    trial = trial_of(with_everything())
    names = shortened_names(trial)
    assert list(names) == normalized(trial)
    assert list(names.values()) == normalized(shortened(trial))
    unlike = [name for name, short in names.items() if name != short]
    # Hints come after 64 targets, and so the mixture with them; weights move every 128; counts are of two ranks.
    assert len(unlike) >= 2


def test_two_that_only_their_length_tells_apart_are_tried_once():
    hedges = '[{"chunk_tokens": 32768}, {"chunk_tokens": 16384}]'
    trial = trial_of(with_everything(f"mix.hedges={hedges}"))
    names = shortened_names(trial)
    assert len(names) == len(set(names.values())) + 1
    assert len(shortened(trial).mix.hedges) == 1


def test_a_name_of_none_is_refused():
    trial = trial_of(recipe_named("demo")).model_copy(update={"scorers": ('{"estimator": "nobody"}',)})
    with pytest.raises(ConfigError, match="nobody"):
        shortened_names(trial)
