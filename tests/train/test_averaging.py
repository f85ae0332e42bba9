"""Which average is exported, against means taken by hand."""

import pytest
import torch
from pydantic import ValidationError

from pgolf.errors import TrainingError
from pgolf.train.averaging import WeightAverage
from pgolf.train.config import TrainConfig

SWA = {"swa_below_scale": 0.5, "swa_every_steps": 2, "clock_limit_s": 600.0}
SCALES = [1.0, 1.0, 0.5, 0.49, 0.3, 0.2, 0.1, 0.05]  # of steps 1 to 8: snapshots after steps 4, 6 and 8
VALUES = [3.0, 1.0, -2.0, 5.0, 0.5, 7.0, 1.5, -4.0]


def exported(config, start=2.0, dtype=torch.float32):
    weight = torch.tensor([start], dtype=dtype)
    average = WeightAverage({"w": weight}, config)
    for step, (value, scale) in enumerate(zip(VALUES, SCALES, strict=True), start=1):
        weight.fill_(value)
        average.update(steps_done=step, rate_scale=scale)
    return average.state(steps_done=len(VALUES))["w"]


def emas(start=2.0, decay=0.9):
    found = [start]
    for value in VALUES:
        found.append(decay * found[-1] + (1 - decay) * value)
    return found


def test_ema_is_the_exponential_average():
    torch.testing.assert_close(exported(TrainConfig(ema_decay=0.9)), torch.tensor([emas()[-1]]))


def test_swa_is_the_mean_of_the_weights_after_every_nth_step_at_low_rates():
    torch.testing.assert_close(exported(TrainConfig(average="swa", **SWA)), torch.tensor([(5.0 + 7.0 - 4.0) / 3]))


def test_swa_of_ema_is_the_mean_of_the_exponential_average_at_those_moments():
    expected = torch.tensor([(emas()[4] + emas()[6] + emas()[8]) / 3])
    torch.testing.assert_close(exported(TrainConfig(average="swa_of_ema", ema_decay=0.9, **SWA)), expected)


@pytest.mark.parametrize("average", ["ema", "swa", "swa_of_ema"])
def test_sums_are_float32_and_what_is_exported_has_the_weights_format(average):
    """-4, 7 and 5 have bfloat16 values, their mean has not; summed in bfloat16 257 snapshots of 1 would make 256."""
    assert exported(TrainConfig(average=average, **SWA), dtype=torch.bfloat16).dtype == torch.bfloat16
    weight = torch.ones(1, dtype=torch.bfloat16)
    mean = WeightAverage({"w": weight}, TrainConfig(average="swa", **SWA | {"swa_every_steps": 1}))
    for step in range(1, 302):
        mean.update(steps_done=step, rate_scale=0.1)
    assert mean.state(steps_done=301)["w"].item() == 1.0


def test_only_the_averages_that_are_needed_are_kept():
    state = {"w": torch.ones(1)}
    assert WeightAverage(state, TrainConfig()).snapshots is None
    assert WeightAverage(state, TrainConfig(average="swa", **SWA)).ema is None


def test_a_timed_run_without_a_snapshot_says_why_it_has_nothing_to_export():
    average = WeightAverage({"w": torch.ones(1)}, TrainConfig(average="swa", **SWA))
    average.update(steps_done=3, rate_scale=0.1)
    average.update(steps_done=4, rate_scale=0.5)
    with pytest.raises(TrainingError, match=r"none of 4 steps was a multiple of swa_every_steps 2 .*_below_scale 0.5,"):
        average.state(steps_done=4)


@pytest.mark.parametrize(
    ("fields", "snapshots"),
    [
        # Step n, the last multiple, is done at rates x(100 - n + 1) / 50.
        ({"swa_every_steps": 50, "swa_below_scale": 0.2}, 1),
        ({"swa_every_steps": 50, "swa_below_scale": 0.02}, 0),
        ({"swa_every_steps": 60, "swa_below_scale": 0.82}, 0),
        ({"swa_every_steps": 60, "swa_below_scale": 0.83}, 1),
        ({"swa_every_steps": 101, "swa_below_scale": 1.0}, 0),
    ],
)
def test_a_run_by_steps_without_a_snapshot_is_refused_before_it_starts(fields, snapshots):
    fields = {"steps": 100, "warmdown_steps": 50, "clock_limit_s": None, "average": "swa", **fields}
    if snapshots:
        TrainConfig(**fields)
        return
    with pytest.raises(
        ValidationError, match=r"would have no snapshot: of 100 steps .* lower train.swa_every_steps or raise"
    ):
        TrainConfig(**fields)
