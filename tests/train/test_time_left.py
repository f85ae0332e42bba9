"""When a training with a reserve stops, of clocks that no real machine would show on demand."""

import random

import pytest

from pgolf.train.config import TrainConfig
from pgolf.train.time_left import RECENT_STEPS, TimeLeft

LIMIT_S, RESERVE_S = 600.0, 40.0
RESERVED = TrainConfig(clock_limit_s=LIMIT_S, clock_reserve_s=RESERVE_S)


def ends_s(steps_s, lag: int) -> list[float]:
    """The clock after every step of a training whose steps take these seconds; the loop's order of events."""
    time_left, clock_s, launched, ended = TimeLeft(RESERVED, lag=lag, elapsed_s=0.0), 0.0, 0, []
    steps_s, is_over = iter(steps_s), False
    while not is_over or len(ended) < launched:
        launched += not is_over
        while launched - len(ended) > (0 if is_over else lag):
            clock_s += next(steps_s)
            ended.append(clock_s)
            time_left.step_ended(clock_s)
            is_over = is_over or time_left.is_over(saving=False)
    return ended


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_no_training_whose_steps_are_no_slower_than_before_reaches_into_its_reserve(lag):
    """Whatever the steps take: the slowest comes at its start, and again at any time."""
    for seed in range(20):
        draw = random.Random(seed)
        slowest_s = draw.uniform(0.5, 9.0)

        def steps_s(draw=draw, slowest_s=slowest_s):
            while True:
                yield slowest_s  # within the window at any time
                for _ in range(draw.randrange(RECENT_STEPS - 1)):
                    yield draw.uniform(0.1, slowest_s)

        ended = ends_s(steps_s(), lag)
        assert ended[-1] <= LIMIT_S - RESERVE_S, seed
        # And none stops while the slowest steps would still fit.
        assert ended[-1 - lag] + (lag + 1) * slowest_s > LIMIT_S - RESERVE_S, seed


def test_slow_first_steps_are_forgotten():
    ended = ends_s([50.0, *[1.0] * 1000], lag=0)
    assert ended[-1] == LIMIT_S - RESERVE_S
    assert len(ended) > RECENT_STEPS
