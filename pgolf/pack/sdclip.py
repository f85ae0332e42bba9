"""The policy "sdclip": clips every row at k standard deviations, a k that is given or that fills the budget.

A row's scale is k · std / q, where q is the largest code. Once 2q + 1 levels reach beyond all weights, a larger k is a
coarser step and a smaller file, not a wider grid: the entropy coder does not pay for levels that do not occur.
Source: SDClip of Parameter Golf PR #1394, where k is 12.85 for matrices (q = 31) and 20 for the token table (q = 127),
as in #1493; #1855 tells attention and MLP apart.

Shapes: R rows of a matrix.
"""

from collections.abc import Mapping

from torch import Tensor

from pgolf.pack.config import CompressConfig, SdclipK
from pgolf.pack.finest import finest_that_fits
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.rounding_plan import Plan, RowScales
from pgolf.pack.trials import Trial, Trials
from pgolf.quant.rounding import SMALLEST_SCALE, float16_scale, positive_levels, round_to_scale
from pgolf.quant.scheme import tensor_class

# k of a table for a matrix's k of 1, as published.
TABLE_RATIO = 20.0 / 12.85

# Below the first normal weights are clipped; at the second a step is wider than three standard deviations.
_FINEST_K, _COARSEST_K = 2.0, 100.0
_KS_PER_DOUBLING = 4


def clipped(quantizer: Quantizer, trials: Trials) -> Trial | None:
    """The packing at the given k, or of the smallest k that fits, not below the k of least squared error.

    None if it does not fit, or none does.
    """
    std = quantizer.for_each(lambda name: quantizer.weights(name).std(dim=1), quantizer.quantized)
    given = quantizer.config.sdclip_k
    if given is not None:
        rung = f"k attention {given.attention:g}, mlp {given.mlp:g}, table {given.table:g}"
        plan = Plan(rung=rung, grids=grids_at(quantizer.config, std, given))
        trial = min(trials.of([plan], total_plans=1), key=lambda tried: tried.total_bytes)
        return trial if trial.fits else None

    def grids(k: float) -> dict[str, RowScales]:
        return grids_at(quantizer.config, std, SdclipK(attention=k, mlp=k, table=TABLE_RATIO * k))

    def plan_at(k: float) -> Plan:
        return Plan(rung=f"k {k:.4f}", grids=grids(k))

    def squared_error(k: float) -> float:
        at_k = grids(k)

        def one(name: str) -> float:
            W_RC, scales = quantizer.weights(name), at_k[name]
            rounded = round_to_scale(name, W_RC, scales.scale, scales.levels)
            return float((W_RC - rounded.dequantize(W_RC.dtype)).double().square().sum())

        return sum(quantizer.for_each(one, quantizer.quantized).values())

    # A smaller k than this one clips more than it refines, so nothing is gained by filling the budget with it.
    candidates = [_FINEST_K * 2 ** (step / _KS_PER_DOUBLING) for step in range(4 * _KS_PER_DOUBLING)]
    return finest_that_fits(quantizer, trials, plan_at, min(candidates, key=squared_error), _COARSEST_K)


def grids_at(config: CompressConfig, std: Mapping[str, Tensor], k: SdclipK) -> dict[str, RowScales]:
    """The grids whose codes end at k standard deviations of their row.

    std: by name, [R]. Rows of weights that are all alike get the smallest scale, so that none is 0. Raises
    QuantizationError if a scale overflows float16.
    """

    def grid(name: str, std_R: Tensor) -> RowScales:
        kind = tensor_class(name)
        own = {"attn": k.attention, "mlp": k.mlp}.get(kind, k.table)
        levels = positive_levels(config.matrix_bits if kind in ("attn", "mlp") else config.embedding_bits)
        return RowScales(float16_scale(name, (own * std_R / levels).clamp_min(SMALLEST_SCALE)), levels)

    return {name: grid(name, std_R) for name, std_R in std.items()}
