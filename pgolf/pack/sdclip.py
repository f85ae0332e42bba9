"""The policy "sdclip": clips every row at k standard deviations of its weights, with the k that fills the budget.

A row's scale is k · std / q, where q is the largest code. Once 2q + 1 levels reach beyond all weights, a larger k is a
coarser step and a smaller file, not a wider grid: the entropy coder does not pay for levels that do not occur.
Source: SDClip of Parameter Golf PR #1394, where k is 12.85 for matrices (q = 31) and 20 for the token table (q = 127).

Shapes: R rows of a matrix.
"""

from pgolf.pack.finest import finest_that_fits
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.rounding_plan import Plan, RowScales
from pgolf.pack.trials import Trial, Trials
from pgolf.quant.rounding import SMALLEST_SCALE, float16_scale, positive_levels, round_to_scale

# k of a table for a matrix's k of 1, as published.
TABLE_RATIO = 20.0 / 12.85

# Below the first normal weights are clipped; at the second a step is wider than three standard deviations.
_FINEST_K, _COARSEST_K = 2.0, 100.0
_KS_PER_DOUBLING = 4


def clipped(quantizer: Quantizer, trials: Trials) -> Trial | None:
    """The packing of the smallest k that fits, not below the k of least squared error; None if none fits."""
    config = quantizer.config
    std = quantizer.for_each(lambda name: quantizer.weights(name).std(dim=1), quantizer.quantized)

    def grid(name: str, k: float) -> RowScales:
        bits, ratio = (config.matrix_bits, 1.0) if name in quantizer.matrices else (config.embedding_bits, TABLE_RATIO)
        levels = positive_levels(bits)
        return RowScales(float16_scale(name, (k * ratio * std[name] / levels).clamp_min(SMALLEST_SCALE)), levels)

    def plan_at(k: float) -> Plan:
        return Plan(rung=f"k {k:.4f}", grids={name: grid(name, k) for name in quantizer.quantized})

    def squared_error(k: float) -> float:
        def one(name: str) -> float:
            W_RC, scales = quantizer.weights(name), grid(name, k)
            rounded = round_to_scale(name, W_RC, scales.scale, scales.levels)
            return float((W_RC - rounded.dequantize(W_RC.dtype)).double().square().sum())

        return sum(quantizer.for_each(one, quantizer.quantized).values())

    # A smaller k than this one clips more than it refines, so nothing is gained by filling the budget with it.
    candidates = [_FINEST_K * 2 ** (step / _KS_PER_DOUBLING) for step in range(4 * _KS_PER_DOUBLING)]
    return finest_that_fits(quantizer, trials, plan_at, min(candidates, key=squared_error), _COARSEST_K)
