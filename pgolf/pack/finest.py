"""Finds the finest plan that fits the budget, in a family where one number makes all steps coarser or finer.

The entropy of plainly rounded codes says where to begin; `Bracket` finds two neighbours of which one fits, from
the sizes of real packings; `Filling` mixes the two row by row.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from pgolf.pack.bracket import NARROW, Bracket, Tried
from pgolf.pack.code_size import entropy_bytes
from pgolf.pack.filling import Filling
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.rounding_plan import Plan, RowScales
from pgolf.pack.trials import Trial, Trials
from pgolf.quant.rounding import round_to_scale

# A plan that leaves less than this share of the budget unused is good enough, and the next aims at half of it.
UNUSED_SHARE = 2e-4
MOST_PLANS = 24
# Further packings whose rows mix two plans.
MOST_MIXED = 60

# A level whose file is larger than the smallest by more than this share is not tried on further plans.
_LEVELS_APART = 2e-3

_GUESS_HALVINGS = 16


def finest_that_fits(
    quantizer: Quantizer, trials: Trials, plan_at: Callable[[float], Plan], finest: float, coarsest: float
) -> Trial | None:
    """The packing with the smallest coarseness in [finest, coarsest] whose file fits; None if none does.

    A plan's size is the smallest of all levels that have kept up. Sizes fall with coarseness but for the steps that
    scales in float16 and matches make; in such a step the first rows take the finer of the two plans around it, as many
    as fit.
    """
    unused_bytes = UNUSED_SHARE * quantizer.config.budget_bytes
    # In doublings of all steps.
    low, high = math.log2(finest), math.log2(coarsest)
    bracket = Bracket(
        low,
        high,
        start=_first_guess(quantizer, plan_at, low, high, trials.limit_bytes - unused_bytes / 2),
        limit_bytes=trials.limit_bytes,
        unused_bytes=unused_bytes,
        bytes_per_doubling=sum(quantizer.state[name].numel() for name in quantizer.quantized) / 8,
    )
    levels: Sequence[int] | None = None
    for _number in range(MOST_PLANS):
        tried = list(trials.of([plan_at(2.0**bracket.at)], total_plans=MOST_PLANS, levels=levels))
        trial = _smallest(tried)
        levels = [other.level for other in tried if other.total_bytes <= (1 + _LEVELS_APART) * trial.total_bytes]
        bracket.add(trial)
        if bracket.has_ended:
            break

    def pack(plan: Plan) -> Trial:
        return _smallest(trials.of([plan], total_plans=MOST_PLANS + MOST_MIXED, levels=levels))

    ends = bracket.jump
    if bracket.fits is None and bracket.over is not None:
        # Secants may creep towards the limit from above, on a plateau of sizes, and never cross it.
        found = _first_that_fits_beyond(bracket.over.at, high, lambda at: pack(plan_at(2.0**at)))
        ends = None if found is None else (bracket.over, found)
    if ends is None:
        return bracket.fits.trial if bracket.fits else None
    over, fits = ends

    filling = Filling(
        fits.trial, pack, limit_bytes=trials.limit_bytes, unused_bytes=unused_bytes, most_packed=MOST_MIXED
    )
    filling.take(over.trial.plan)
    at = over.at
    while not filling.is_done and at > low:
        at = max(at - NARROW, low)
        filling.take(plan_at(2.0**at))
    return filling.best


def _first_that_fits_beyond(over_at: float, high: float, pack: Callable[[float], Trial]) -> Tried | None:
    """The first packing that fits, from just above `over_at` on at twice the distance each time; None up to `high`."""
    at, step = over_at, NARROW
    while at < high:
        at, step = min(over_at + step, high), 2 * step
        trial = pack(at)
        if trial.fits:
            return Tried(at, trial)
    return None


def _smallest(tried: Iterable[Trial]) -> Trial:
    """The smallest of one plan's packings; of equal ones the first."""
    return min(tried, key=lambda trial: trial.total_bytes)


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

    for _number in range(_GUESS_HALVINGS):
        middle = (low + high) / 2
        if predicted_bytes(middle) > goal_bytes:
            low = middle
        else:
            high = middle
    return high
