"""Calibration: the Hessians that it sums on the device against float64 sums over the same inputs.

Shapes: N positions (batch and time together), C input channels of a linear map.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pgolf.model.gpt import GPT
from pgolf.model.linear import CastedLinear
from pgolf.quant.hessian import InputHessians
from pgolf.recipes.systems import pr715, pr745, pr792, tiny
from pgolf.selftest.check import Check, Numbers, Place, Verdict, worst
from pgolf.selftest.exercised import exercised_network, random_tokens
from pgolf.selftest.rounding_error import BFLOAT16, FLOAT32, sum_limit

_ROWS = 2


def measure(place: Place) -> Numbers:
    """The Hessian farthest from its definition, in units of its limit, over the twins of three systems."""
    found = []
    for full in (pr715, pr745, pr792):
        recipe = tiny(full())
        model = exercised_network(recipe.model).to(place.device)
        tokens_BT = random_tokens(recipe.model.vocab_size, _ROWS, recipe.calibrate.sequence_length)
        errors = hessian_errors(model, tokens_BT.to(place.device), InputHessians(model, recipe.calibrate.product))
        # Uses of a map: twice where its layer recurs. Every term of a float32 sum is a product in float32; then the
        # mean of both triangles.
        terms = 2 * tokens_BT.numel()
        limit = sum_limit(terms, FLOAT32) + 3 * FLOAT32
        if recipe.calibrate.product == "bfloat16":  # both factors and the product are rounded
            limit += 3 * BFLOAT16
        found += [(error / limit, f"{full.__name__} {name}", error, limit) for name, error in errors.items()]
    return {"maps": len(found), **dict(zip(("map", "error", "limit"), max(found)[1:], strict=True))}


@torch.inference_mode()
def hessian_errors(model: GPT, tokens_BT: Tensor, hessians: InputHessians) -> dict[str, float]:
    """Of every linear map the largest |H - XᵀX| in units of |X|ᵀ|X|, which bounds the error of any order of sums."""
    inputs: dict[str, list[Tensor]] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, CastedLinear):
            kept = inputs.setdefault(f"{name}.weight", [])

            def keep(_module: nn.Module, given: tuple[Any, ...], kept: list[Tensor] = kept) -> None:
                kept.append(given[0].reshape(-1, given[0].shape[-1]).cpu().double())

            hooks.append(module.register_forward_pre_hook(keep))
    with hessians:
        model.hidden(tokens_BT)
    for hook in hooks:
        hook.remove()
    errors = {}
    for name, found_CC in hessians.mean(1).items():
        x_NC = torch.cat(inputs[name])
        bound_CC = (x_NC.abs().T @ x_NC.abs()).clamp(min=torch.finfo(torch.float64).tiny)
        errors[name] = float(((found_CC.double() - x_NC.T @ x_NC).abs() / bound_CC).nan_to_num(torch.inf).max())
    return errors


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """Every Hessian within what the roundings of its format allow."""
    rank, ratio = worst(by_rank, "error", "limit")
    of = by_rank[rank]
    return Verdict(
        ratio <= 1, f"{of['maps']} Hessians; farthest {of['map']}: {of['error']:.2g} (limit {of['limit']:.2g})"
    )


CHECK = Check(
    name="calibration",
    proves="the Hessians that GPTQ rounds by are the sums that they are defined as",
    measure=measure,
    judge=judge,
    means="GPTQ rounds weights by wrong curvatures: files fit the budget all the same, and score worse",
    remedy="if TORCH_ALLOW_TF32_CUBLAS_OVERRIDE or another TF32 switch is set, unset it; else install the torch that "
    "constraints.txt pins",
)
