"""Rates and momentum at hand-computed moments."""

import pytest

from pgolf.train.config import TrainConfig
from pgolf.train.schedule import (
    muon_momentum,
    rate_scale,
    rate_scale_by_clock,
    rate_scale_by_steps,
    repeats_layers,
)


def test_rates_by_steps_are_those_of_638():
    """7,500 steps, 3,500 of them falling: 1 until step 4,000, then (7,500 - step) / 3,500."""
    scales = [rate_scale_by_steps(step, steps=7500, warmdown_steps=3500) for step in (0, 4000, 4001, 5750, 7499)]
    assert scales == [1.0, 1.0, 3499 / 3500, 0.5, 1 / 3500]


def test_a_run_shorter_than_its_warmdown_falls_from_the_first_step():
    assert [rate_scale_by_steps(step, steps=4, warmdown_steps=8) for step in range(4)] == [0.5, 0.375, 0.25, 0.125]
    assert rate_scale_by_steps(3, steps=4, warmdown_steps=0) == 1.0


@pytest.mark.parametrize(
    ("step_s", "warmdown_steps", "turn", "steps"),
    [(0.10752, 3000, 2580, 5581), (0.09363, 3000, 3405, 6409), (0.13415, 3500, 980, 4473), (0.11445, 3500, 1745, 5243)],
)
def test_rates_by_clock_turn_where_the_published_runs_turned(step_s, warmdown_steps, turn, steps):
    """#715, #761, #745 and #792: 600 s at the pace of seed 1337's log; the published turns are rounded to 5 steps."""
    scales = [
        rate_scale_by_clock(step, step_s * step, limit_s=600, warmdown_steps=warmdown_steps) for step in range(steps)
    ]
    assert scales[0] == 1.0
    first = next(step for step, scale in enumerate(scales) if scale < 1)
    assert first == pytest.approx(turn, abs=10)
    middle = (first + steps) // 2
    assert scales[middle] == pytest.approx((600 - step_s * middle) / (step_s * warmdown_steps))


def test_at_a_steady_pace_the_clock_gives_the_same_rates_as_the_steps():
    for step in range(1, 100):
        by_clock = rate_scale_by_clock(step, 0.5 * step, limit_s=50, warmdown_steps=30)
        assert by_clock == pytest.approx(rate_scale_by_steps(step, steps=100, warmdown_steps=30))


def test_past_the_limit_the_rate_is_zero():
    assert rate_scale_by_clock(10, 61.0, limit_s=60, warmdown_steps=3) == 0.0


def test_the_stopping_rule_chooses_the_schedule():
    timed = TrainConfig(steps=100, clock_limit_s=10, warmdown_steps=50)
    by_steps = TrainConfig(steps=100, clock_limit_s=None, warmdown_steps=50)
    assert rate_scale(timed, 75, 5.0) == 1.0
    assert rate_scale(by_steps, 75, 5.0) == 0.5


def test_momentum_warms_up_linearly_from_its_start():
    config = TrainConfig()
    momenta = [muon_momentum(config, step) for step in (0, 750, 1500, 9000)]
    assert momenta == pytest.approx([0.92, 0.955, 0.99, 0.99])
    assert muon_momentum(TrainConfig(muon_momentum_warmup_steps=0), 0) == 0.99


@pytest.mark.parametrize("config", [TrainConfig(steps=100, clock_limit_s=None), TrainConfig(clock_limit_s=110.0)])
def test_by_share_the_clock_and_the_steps_give_the_same_rates_down_to_a_floor(config):
    """Of 100 steps, or 100 s of 110: 1 until 28, then (100 - t) / 72, but 0.1 at least."""
    reserve_s = 0.0 if config.clock_limit_s is None else 10.0
    config = config.model_copy(update={"clock_reserve_s": reserve_s, "warmdown_share": 0.72, "rate_floor": 0.1})
    scales = [rate_scale(config, t, float(t)) for t in (0, 28, 29, 64, 92, 93, 100, 101)]
    assert scales == pytest.approx([1.0, 1.0, 71 / 72, 0.5, 8 / 72, 0.1, 0.1, 0.1])
    without = config.model_copy(update={"rate_floor": 0.0})
    assert [rate_scale(without, t, float(t)) for t in (93, 100, 101)] == pytest.approx([7 / 72, 0.0, 0.0])


def test_a_floor_holds_for_rates_that_fall_over_steps_too():
    config = TrainConfig(steps=100, clock_limit_s=None, warmdown_steps=50, rate_floor=0.3)
    assert [rate_scale(config, step, 0.0) for step in (50, 75, 95)] == [1.0, 0.5, 0.3]


def test_layers_recur_from_the_first_step_at_their_share_of_the_clock_or_of_the_steps():
    """35 % of 588 s are 205.8 s, whatever the steps; without a clock, of the steps."""
    timed = TrainConfig(steps=100, clock_limit_s=600.0, clock_reserve_s=12.0, recurrence_from=0.35)
    assert [repeats_layers(timed, 99, seconds) for seconds in (0.0, 205.7, 205.8, 600.0)] == [False, False, True, True]
    by_steps = TrainConfig(steps=6, clock_limit_s=None, recurrence_from=0.35)
    assert [repeats_layers(by_steps, step, 0.0) for step in range(6)] == [False, False, False, True, True, True]
    assert repeats_layers(TrainConfig(), 0, 0.0)
