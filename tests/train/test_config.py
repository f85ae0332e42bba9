import pytest
from pydantic import ValidationError

from pgolf.train.config import TrainConfig


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


@pytest.mark.parametrize("fields", [{"steps": 0}, {"clock_limit_s": 0}, {"ema_decay": 1.0}, {"muon_lr": float("nan")}])
def test_values_out_of_bounds_are_refused(fields):
    with pytest.raises(ValidationError):
        TrainConfig(**fields)
