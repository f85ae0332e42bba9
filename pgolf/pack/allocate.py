"""The policy "allocate": gives every row the step at which one more byte saves as much loss as in any other row.

A row of C weights rounded to steps of s costs about c C s² in loss (c: `Quantizer.step_costs`) and C log2(1 / s) bits,
up to a constant. Of all steps with the same sum of bits, the least loss has c s² the same in every row: s ∝ c^-½.
What remains free is one factor, and the budget decides it.

Shapes: R rows of a matrix.
Source: reverse water-filling; Gersho and Gray 1992, chapter 8.
"""

import torch
from torch import Tensor

from pgolf.pack.finest import finest_that_fits
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.rounding_plan import Plan, RowScales
from pgolf.pack.trials import Trial, Trials
from pgolf.quant.rounding import SMALLEST_SCALE, float16_scale

MAX_LEVELS = 127  # what int8 holds on both sides of zero

# Every row also gets this share of its tensor's mean cost: the calibration tokens do not show all that will be read.
SHARED_COST = 0.1

# Steps of one tensor lie this many to a doubling, so that its scales take few different values and little room. Being
# off by half a step, 9 %, costs a row 0.4 % more loss at equal size.
SCALES_PER_DOUBLING = 4


def allocated(quantizer: Quantizer, trials: Trials) -> Trial | None:
    """The packing with the least predicted loss that fits; None if even one level on both sides of zero is too large.

    Raises QuantizationError where calibration has not measured the loss's curvature for every matrix and table.
    """
    costs = quantizer.for_each(quantizer.step_costs, quantizer.quantized)
    widest = quantizer.for_each(lambda name: quantizer.weights(name).abs().amax(dim=1).double(), quantizer.quantized)
    relative = relative_steps(costs, {name: quantizer.state[name].shape[1] for name in quantizer.quantized})

    def plan_at(step: float) -> Plan:
        grids = {name: _row_scales(name, relative[name] * step, widest[name]) for name in quantizer.quantized}
        return Plan(rung=f"typical step {step:.5f}", grids=grids)

    reached = torch.cat([widest[name] / relative[name] for name in quantizer.quantized])
    largest = float(reached.max()) or 1.0
    smallest = float(reached[reached > 0].min()) if bool((reached > 0).any()) else 1.0
    return finest_that_fits(quantizer, trials, plan_at, smallest / MAX_LEVELS, largest)


def relative_steps(costs: dict[str, Tensor], columns: dict[str, int]) -> dict[str, Tensor]:
    """Each row's step, float64 [R], with a geometric mean of 1 over all weights, on a grid of ratios.

    costs: by name, float64 [R], at least 0. A tensor that costs nothing at all gets the largest step of the others.
    """
    shared = {name: cost_R + SHARED_COST * cost_R.mean() for name, cost_R in costs.items()}
    least = min((float(cost_R.min()) for cost_R in shared.values() if float(cost_R.max()) > 0), default=1.0)
    log_steps = {name: -0.5 * cost_R.clamp_min(least).log2() for name, cost_R in shared.items()}
    weights = sum(len(log_R) * columns[name] for name, log_R in log_steps.items())
    mean = sum(float(log_R.sum()) * columns[name] for name, log_R in log_steps.items()) / max(weights, 1)
    return {
        name: torch.exp2(torch.round((log_R - mean) * SCALES_PER_DOUBLING) / SCALES_PER_DOUBLING)
        for name, log_R in log_steps.items()
    }


def _row_scales(name: str, step_R: Tensor, widest_R: Tensor) -> RowScales:
    """Steps between the finest whose codes int8 holds and the coarsest that still has a level beside zero."""
    scale_R = torch.minimum(torch.maximum(step_R, widest_R / MAX_LEVELS), widest_R).clamp_min(SMALLEST_SCALE)
    return RowScales(float16_scale(name, scale_R), MAX_LEVELS)
