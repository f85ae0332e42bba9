"""The finest of a family of plans that fits the budget, where one number makes all steps of a plan coarser or finer."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from pgolf.pack.code_size import entropy_bytes
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.rounding_plan import Plan, RowScales
from pgolf.pack.trials import Trial, Trials
from pgolf.quant.rounding import round_to_scale

# A plan that leaves less than this share of the budget unused is good enough, and the next aims at half of it.
UNUSED_SHARE = 2e-4
MOST_PLANS = 24
# Further packings whose rows mix two plans.
MOST_MIXED = 60

# Two plans on both sides of the limit that lie so few doublings apart, 0.14 % of a step, are mixed row by row.
_STEP = 2e-3
_HALVINGS = 16

# A level whose file is larger than the smallest by more than this share is not tried on further plans.
_LEVELS_APART = 2e-3


def finest_that_fits(
    quantizer: Quantizer, trials: Trials, plan_at: Callable[[float], Plan], finest: float, coarsest: float
) -> Trial | None:
    """The packing with the smallest coarseness in [finest, coarsest] whose file fits; None if none does.

    The entropy of plainly rounded codes says where to begin; then the real sizes lead, each the smallest of all
    levels that have kept up. They fall with coarseness but for the steps that scales in float16 and matches make;
    in such a step the first rows take the finer of the two plans around it, as many as fit.
    """
    unused_bytes = UNUSED_SHARE * quantizer.config.budget_bytes
    goal_bytes = trials.limit_bytes - unused_bytes / 2
    # In doublings of all steps, each of which saves about one bit per weight.
    low, high = math.log2(finest), math.log2(coarsest)
    bytes_per_doubling = one_bit_bytes = sum(quantizer.state[name].numel() for name in quantizer.quantized) / 8
    at = _first_guess(quantizer, plan_at, low, high, goal_bytes)
    levels: Sequence[int] | None = None
    fits: _Point | None = None
    over: _Point | None = None
    before: _Point | None = None
    for _number in range(MOST_PLANS):
        tried = list(trials.of([plan_at(2.0**at)], total_plans=MOST_PLANS, levels=levels))
        trial = min(tried, key=lambda trial: trial.total_bytes)
        levels = [other.level for other in tried if other.total_bytes <= (1 + _LEVELS_APART) * trial.total_bytes]
        here = _Point(at, len(trial.file_bytes), trial)
        if not trial.fits:
            over = here
        elif fits is None or at < fits.at:
            fits = here
        if at == (low if trial.fits else high) or 0 <= trials.limit_bytes - here.size_bytes <= unused_bytes:
            break
        if fits and over and fits.at - over.at < _STEP:
            filling = _Filling(quantizer, trials, levels, fits.trial)
            filling.take(over.trial.plan)
            at = over.at
            while not filling.is_done and at > low:
                at = max(at - _STEP, low)
                filling.take(plan_at(2.0**at))
            return filling.best
        if fits and over:
            # Sizes fall in steps, so the secant may creep along one side; halving in turn bounds that.
            crossed = before is not None and (before.size_bytes > goal_bytes) != (here.size_bytes > goal_bytes)
            share = (over.size_bytes - goal_bytes) / (over.size_bytes - fits.size_bytes) if crossed else 0.5
            at = over.at + min(max(share, 0.05), 0.95) * (fits.at - over.at)
        else:
            if before is not None and before.at != at:
                bytes_per_doubling = (before.size_bytes - here.size_bytes) / (at - before.at)
                # Two sizes near one another say little about the slope.
                bytes_per_doubling = max(bytes_per_doubling, one_bit_bytes / 4)
            at = min(max(at + (here.size_bytes - goal_bytes) / bytes_per_doubling, low), high)
        before = here
    return fits.trial if fits else None


class _Point(NamedTuple):
    """A coarseness in doublings, and the packing and size it led to."""

    at: float
    size_bytes: int
    trial: Trial


class _Filling:
    """A packing that fits, and rows of it that take the grids of a finer plan as long as it does."""

    def __init__(self, quantizer: Quantizer, trials: Trials, levels: Sequence[int], fits: Trial) -> None:
        self.best = fits
        self._quantizer = quantizer
        self._trials = trials
        self._levels = levels
        self._unused_bytes = UNUSED_SHARE * quantizer.config.budget_bytes
        self._left = MOST_MIXED

    @property
    def is_done(self) -> bool:
        """Whether the budget is used, or enough was tried."""
        return self._room_bytes <= self._unused_bytes or not self._left

    @property
    def _room_bytes(self) -> int:
        return self._trials.limit_bytes - len(self.best.file_bytes)

    def take(self, finer: Plan) -> None:
        """Let rows take the grids of `finer`, first to last.

        Where one more row takes the codec across a step in size, the rest of its tensor stays as it is and the next
        tensors go on.
        """
        names = list(self._quantizer.quantized)
        while names and not self.is_done:
            crossed = self._take_first_rows(names, finer)
            names = names[names.index(crossed) + 1 :] if crossed else []

    def _take_first_rows(self, names: Sequence[str], finer: Plan) -> str | None:
        """The tensor among `names` in which the file became too large; None if all rows could be taken."""
        few, many = 0, sum(len(self._quantizer.state[name]) for name in names)
        base, rows = self.best.plan, many
        while not self.is_done and few < many:
            plan = _mixed(names, finer, base, rows)
            self._left -= 1
            tried = self._trials.of([plan], total_plans=MOST_PLANS + MOST_MIXED, levels=self._levels)
            trial = min(tried, key=lambda trial: trial.total_bytes)
            if trial.fits:
                self.best, few = trial, rows
            else:
                many = rows - 1
            rows = (few + many + 1) // 2
        for name in names:
            few -= len(self._quantizer.state[name])
            if few < 0:
                return name
        return None


def _mixed(names: Sequence[str], finer: Plan, coarser: Plan, rows: int) -> Plan:
    """The first so many rows of the tensors named on the grids of one plan, all others on those of another."""
    grids = dict(coarser.grids)
    left = rows
    for name in names:
        one, other = finer.grids[name], coarser.grids[name]
        assert isinstance(one, RowScales)
        assert isinstance(other, RowScales)
        if left >= len(one.scale):
            grids[name] = one
        elif left > 0:
            grids[name] = RowScales(torch.cat([one.scale[:left], other.scale[left:]]), one.levels)
        left -= len(one.scale)
    return Plan(rung=f"{finer.rung} in part", grids=grids)


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
