import pytest
from pydantic import ValidationError

from pgolf.errors import ConfigError
from pgolf.model.config import ModelConfig
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.train.config import TrainConfig, TrainStageConfig


def test_the_defaults_cut_the_published_batch_into_the_published_spans():
    config = TrainConfig()
    assert config.tokens_per_span == 98_304
    assert config.stream_tokens_per_step == 786_440


def test_a_batch_that_is_not_whole_is_refused_with_the_nearest_that_is():
    with pytest.raises(ValidationError, match=r"800000 is not a multiple of .* 8 x 2048; the nearest is 802816"):
        TrainConfig(tokens_per_step=800_000)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"clock_limit_s": None, "clock_reserve_s": 5}, "clock_limit_s is null, so training stops by steps alone"),
        ({"clock_limit_s": 60, "clock_reserve_s": 60}, "leaves nothing of clock_limit_s 60 to train in"),
    ],
)
def test_a_reserve_is_kept_of_a_longer_limit(fields, says):
    with pytest.raises(ValidationError, match=says):
        TrainConfig(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 0},
        {"clock_limit_s": 0},
        {"ema_decay": 1.0},
        {"muon_lr": float("nan")},
        *({"recurrence_from": share} for share in (0.0, 1.0, -0.1, 1.5)),
        {"warmdown_share": 0.0},
        {"warmdown_share": 1.1},
        {"rate_floor": -0.1},
        {"embedding_weight_decay": -0.1},
        {"scalar_weight_decay": -0.1},
    ],
)
def test_values_out_of_bounds_are_refused(fields):
    with pytest.raises(ValidationError):
        TrainConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, r"runs none twice \(model.recurrence \(\), model.recurrence_passes 2\)"),
        ({"recurrence": (4, 5), "recurrence_passes": 1, "recurrence_shares": "blocks"}, "runs none twice"),
        ({"recurrence": (4, 5)}, "gives each pass gains of its own"),
    ],
)
def test_recurrence_is_not_switched_on_midway_in_a_network_that_has_none_to_switch(fields, says):
    """In a stage's config and in a recipe alike, and what the message advises is taken."""
    model, train = ModelConfig(**fields), TrainConfig(recurrence_from=0.35)
    with pytest.raises(ValidationError, match=says):
        TrainStageConfig(model=model, train=train)
    settings = [f"model.{name}={value}" for name, value in fields.items()]
    recipe = recipe_named("pr715")
    with pytest.raises(ConfigError, match=says):
        apply_overrides(recipe, [*settings, "train.recurrence_from=0.35"])
    looped = ["model.recurrence=(3, 4, 5)", "model.recurrence_shares=blocks", "train.recurrence_from=0.35"]
    assert apply_overrides(recipe, looped).model.executed_layers == 14


def test_a_mean_of_snapshots_looks_for_them_at_rates_by_share_and_above_their_floor():
    """Of 100 steps the last is done at 0.01 / 0.5 = x0.02."""
    fields = {"steps": 100, "clock_limit_s": None, "average": "swa", "swa_below_scale": 0.03, "swa_every_steps": 10}
    TrainConfig(**fields, warmdown_share=0.5)
    with pytest.raises(ValidationError, match="would have no snapshot"):
        TrainConfig(**fields, warmdown_share=0.5, rate_floor=0.1)
