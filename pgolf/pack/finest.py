"""The finest of a family of plans that fits the budget, where one number makes all steps of a plan coarser or finer."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pgolf.pack.plan import Plan, RowScales
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.size import entropy_bytes
from pgolf.pack.trials import Trial, Trials
from pgolf.quant.grid import round_to_scale

# A plan that leaves less than this share of the budget unused is good enough, and the next aims at half of it.
UNUSED_SHARE = 2e-4
MOST_PLANS = 24

# Doublings below which two sizes on both sides of the limit mean a step in size: 0.1 % of the step between levels.
_STEP = 2e-3
_HALVINGS = 16

# Multiples of the golden ratio, modulo 1, fill an interval evenly.
_GOLDEN = 0.6180339887

# A level whose file is larger than the smallest by more than this share is not tried on further plans.
_LEVELS_APART = 2e-3


def finest_that_fits(
    quantizer: Quantizer, trials: Trials, plan_at: Callable[[float], Plan], finest: float, coarsest: float
) -> Trial | None:
    """The packing with the smallest coarseness in [finest, coarsest] whose file fits; None if none does.

    The entropy of plainly rounded codes says where to begin; then the real sizes lead, each the smallest of all
    levels that have kept up. They fall with coarseness but for the steps that matches make, so the result is the
    finest up to those.
    """
    unused_bytes = UNUSED_SHARE * quantizer.config.budget_bytes
    goal_bytes = trials.limit_bytes - unused_bytes / 2
    # In doublings of all steps, each of which saves about one bit per weight.
    low, high = math.log2(finest), math.log2(coarsest)
    bytes_per_doubling = one_bit_bytes = sum(quantizer.state[name].numel() for name in quantizer.quantized) / 8
    at = _first_guess(quantizer, plan_at, low, high, goal_bytes)
    levels: Sequence[int] | None = None
    probes = 0
    best: Trial | None = None
    fits: _Point | None = None
    over: _Point | None = None
    before: _Point | None = None
    for _number in range(MOST_PLANS):
        tried = list(trials.of([plan_at(2.0**at)], total_plans=MOST_PLANS, levels=levels))
        trial = min(tried, key=lambda trial: trial.total_bytes)
        levels = [other.level for other in tried if other.total_bytes <= (1 + _LEVELS_APART) * trial.total_bytes]
        here = _Point(at, len(trial.file_bytes))
        if not trial.fits:
            over = over if probes else here
        elif fits is None or at < fits.at:
            best, fits = trial, here
        if at == (low if trial.fits else high) or 0 <= trials.limit_bytes - here.size_bytes <= unused_bytes:
            break
        if fits and over and not probes and fits.at - over.at >= _STEP:
            # Sizes fall in steps, so the secant may creep along one side; halving in turn bounds that.
            crossed = before is not None and (before.size_bytes > goal_bytes) != (here.size_bytes > goal_bytes)
            share = (over.size_bytes - goal_bytes) / (over.size_bytes - fits.size_bytes) if crossed else 0.5
            at = over.at + min(max(share, 0.05), 0.95) * (fits.at - over.at)
        elif fits and over:
            # A step lies between the two. Finer plans may fall on its near side: look where chance leads.
            reach = max(3 * (goal_bytes - fits.size_bytes) / bytes_per_doubling, 4 * _STEP)
            probes += 1
            at = max(fits.at - reach * (probes * _GOLDEN % 1.0), low)
            continue
        else:
            if before is not None and before.at != at:
                bytes_per_doubling = (before.size_bytes - here.size_bytes) / (at - before.at)
                # Two sizes near one another say little about the slope.
                bytes_per_doubling = max(bytes_per_doubling, one_bit_bytes / 4)
            at = min(max(at + (here.size_bytes - goal_bytes) / bytes_per_doubling, low), high)
        before = here
    return best


class _Point(NamedTuple):
    """A coarseness in doublings, and the size it led to."""

    at: float
    size_bytes: int


def _first_guess(
    quantizer: Quantizer, plan_at: Callable[[float], Plan], low: float, high: float, goal_bytes: float
) -> float:
    """The coarseness, in doublings, at which codes and what goes beside them have about the size asked for."""
    codes = {name: quantizer.state[name].numel() for name in quantizer.quantized}
    beside_bytes = sum(2 * tensor.numel() for name, tensor in quantizer.state.items() if name not in codes)

    def predicted_bytes(at: float) -> float:
        grids = plan_at(2.0**at).grids

        def one(name: str) -> float:
            grid = grids[name]
            assert isinstance(grid, RowScales)
            return entropy_bytes(round_to_scale(name, quantizer.weights(name), grid.scale, grid.levels).codes)

        return beside_bytes + sum(quantizer.for_each(one, quantizer.quantized).values())

    for _number in range(_HALVINGS):
        middle = (low + high) / 2
        if predicted_bytes(middle) > goal_bytes:
            low = middle
        else:
            high = middle
    return high
