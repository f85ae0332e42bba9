"""The compiled loss of a micro-step at full size against the same network run operation by operation.

Shapes: B rows of a span, T positions.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from pgolf.model.gpt import GPT
from pgolf.ranks.devices import seconds_when_done
from pgolf.recipes.recipe import Recipe
from pgolf.selftest.check import Check, Numbers, Place, Verdict, worst
from pgolf.selftest.exercised import exercise
from pgolf.selftest.full_size import full_size
from pgolf.selftest.rounding_error import gradient_limit, hidden_limit, relative_rms
from pgolf.train.groups import block_linears
from pgolf.train.network_loss import NetworkLoss

_ROWS_AT_A_TIME = 4  # uncompiled, a whole span takes more memory than a training


def measure(place: Place, recipe_of: Callable[[], Recipe]) -> Numbers:
    """Relative differences of the loss and of every matrix's gradient, and the seconds that compiling took."""
    system = full_size(recipe_of, place)
    exercise(system.model)
    system.model.train()
    span = system.spans.read(0, place.ranks.rank, place.device)
    began_s = time.perf_counter()
    compiled = loss_and_gradients(system.model, system.loss, *span)
    first_s = seconds_when_done(place.device) - began_s
    plain = in_parts(system.model, *span)
    system.restart()
    differences = {name: relative_rms(compiled[1][name], plain[1][name]) for name in plain[1]}
    farthest = max(differences, key=differences.__getitem__)
    return {
        "compile_s": round(first_s, 1),
        "loss_nats": plain[0],
        "loss_difference": abs(compiled[0] - plain[0]) / abs(plain[0]),
        "loss_limit": hidden_limit(system.recipe.model),
        "farthest": farthest,
        "gradient_difference": differences[farthest],
        "gradient_limit": gradient_limit(system.recipe.model),
        "matrices": len(differences),
    }


def loss_and_gradients(
    model: GPT, loss: NetworkLoss, tokens_BT: Tensor, targets_BT: Tensor
) -> tuple[float, dict[str, Tensor]]:
    """The loss, and the gradient of every matrix of the blocks by name.

    Only theirs: the gradient of a gain is a sum that nearly cancels, so its relative error has no bound.
    """
    model.zero_grad(set_to_none=True)
    value = loss(tokens_BT, targets_BT)
    value.backward()  # type: ignore[no-untyped-call]
    return float(value.detach()), _gradients(model)


def in_parts(model: GPT, tokens_BT: Tensor, targets_BT: Tensor) -> tuple[float, dict[str, Tensor]]:
    """The same by `model.loss`, a few rows at a time; a span's loss is the mean over its rows."""
    model.zero_grad(set_to_none=True)
    rows = len(tokens_BT)
    total = 0.0
    for first in range(0, rows, _ROWS_AT_A_TIME):
        part = slice(first, min(first + _ROWS_AT_A_TIME, rows))
        value = model.loss(tokens_BT[part], targets_BT[part]) * ((part.stop - part.start) / rows)
        value.backward()  # type: ignore[no-untyped-call]
        total += float(value.detach())
    return total, _gradients(model)


def _gradients(model: GPT) -> dict[str, Tensor]:
    linears = block_linears(model)
    return {name: linear.weight.grad.clone() for name, linear in linears.items() if linear.weight.grad is not None}


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """Loss and gradients within what the roundings of both allow, on every rank."""
    _, loss = worst(by_rank, "loss_difference", "loss_limit")
    rank, gradient = worst(by_rank, "gradient_difference", "gradient_limit")
    of = by_rank[rank]
    return Verdict(
        loss <= 1 and gradient <= 1,
        f"loss {of['loss_difference']:.2g} apart (limit {of['loss_limit']:.2g}); {of['matrices']} gradients, farthest "
        f"{of['farthest']}: {of['gradient_difference']:.2g} (limit {of['gradient_limit']:.2g}); compiled in "
        f"{max(numbers['compile_s'] for numbers in by_rank):.0f} s",
    )


def check_of(recipe_of: Callable[[], Recipe], *, toy: bool) -> Check:
    """The check of one system. toy: of its small twin, on any device."""
    return Check(
        name=f"compiled {recipe_of().name}",
        proves="the compiled loss and its gradients are those of the network run operation by operation",
        measure=partial(measure, recipe_of=recipe_of),
        judge=judge,
        means=_MEANS,
        remedy=_REMEDY,
        needs_gpu=not toy,
        limit_s=120.0,
    )


_MEANS = "the compiled network is another one than the recipe's, or computes it wrongly"
_REMEDY = (
    "if it did not compile, `pgolf doctor` says what the compiler lacks; if it differs, install the torch that "
    "constraints.txt pins; until then train uncompiled (--set train.compile=false), which is "
    "slower: the published number of steps may not fit into 600 s"
)
