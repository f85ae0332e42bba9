"""The bfloat16 network on the device against the float32 network on the CPU, for the twin of every system.

Part by part, since in a deep network most errors of one layer drown: each attention and each MLP gets the inputs that
it had in the float32 network. Then the final hidden states of the whole.
Shapes: B rows, T positions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pgolf.model.gpt import GPT
from pgolf.model.precision import Precision
from pgolf.recipes.systems import FULL, tiny
from pgolf.selftest.check import Check, Numbers, Place, Verdict, worst
from pgolf.selftest.exercised import exercised_network, random_tokens
from pgolf.selftest.rounding_error import attention_limit, hidden_limit, mlp_limit, relative_rms

_ROWS = 4


def measure(place: Place) -> Numbers:
    """Of every twin the part farthest from float32, in units of its limit, and the hidden states likewise."""
    parts, whole = [], []
    for full in FULL:
        recipe = tiny(full())
        reference = exercised_network(recipe.model)
        on_device = exercised_network(recipe.model).to(place.device)
        tokens_BT = random_tokens(recipe.model.vocab_size, _ROWS, recipe.train.sequence_length)
        found = part_errors(reference, on_device, tokens_BT, on_device.precision)
        parts += [(error / limit, f"{full.__name__} {part}", error, limit) for part, error, limit in found]
        with torch.inference_mode():
            hidden = relative_rms(on_device.hidden(tokens_BT.to(place.device)), reference.hidden(tokens_BT))
        whole.append((hidden / hidden_limit(recipe.model), full.__name__, hidden, hidden_limit(recipe.model)))
    return {
        "parts": len(parts),
        **dict(zip(("part", "part_error", "part_limit"), max(parts)[1:], strict=True)),
        **dict(zip(("hidden", "hidden_error", "hidden_limit"), max(whole)[1:], strict=True)),
    }


@torch.inference_mode()
def part_errors(
    reference: GPT, on_device: GPT, tokens_BT: Tensor, precision: Precision
) -> list[tuple[str, float, float]]:
    """Name, relative error and limit of every attention and MLP of `on_device`, on the inputs they have in `reference`.

    precision: what `on_device` computes in.
    """
    calls: list[tuple[nn.Module, tuple[Any, ...], Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append((module, inputs, output[0] if isinstance(output, tuple) else output))

    parts = [each for block in reference.block_list for each in (block.attn, getattr(block, "mlp", None)) if each]
    hooks = [part.register_forward_hook(keep) for part in parts]
    try:
        reference.hidden(tokens_BT)
    finally:
        for hook in hooks:
            hook.remove()
    twins = dict(zip(reference.modules(), on_device.modules(), strict=True))
    device = tokens_BT.device if on_device.tok_emb.weight.device.type == "cpu" else on_device.tok_emb.weight.device
    found = []
    for number, (module, inputs, expected) in enumerate(calls):
        layer, is_mlp = divmod(number, 2)  # attention, then MLP, layer by layer
        if is_mlp:
            output = twins[module](inputs[0].to(device, precision.linear))
        else:
            maps = twins[inputs[1]]
            rotation, first_v, embedding = (_on(each, device) for each in inputs[2:5])
            first_v, embedding = (None if each is None else each.to(precision.linear) for each in (first_v, embedding))
            u = inputs[0].to(device, precision.residual)
            output = twins[module](u, maps, rotation, first_v, embedding, precision)[0]
        limit = mlp_limit() if is_mlp else attention_limit()
        found.append((f"{'MLP' if is_mlp else 'attention'} {layer}", relative_rms(output, expected), limit))
    return found


def _on(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple):
        return tuple(_on(each, device) for each in value)
    return value.to(device) if isinstance(value, Tensor) else value


def judge(by_rank: Sequence[Numbers]) -> Verdict:
    """Every part and every twin's hidden states within the limit of their roundings, on every rank's device."""
    part_rank, part = worst(by_rank, "part_error", "part_limit")
    hidden_rank, hidden = worst(by_rank, "hidden_error", "hidden_limit")
    of_part, of_hidden = by_rank[part_rank], by_rank[hidden_rank]
    return Verdict(
        part <= 1 and hidden <= 1,
        f"{of_part['parts']} parts; farthest {of_part['part']}: {of_part['part_error']:.2g} (limit "
        f"{of_part['part_limit']:.2g}); hidden states {of_hidden['hidden']}: {of_hidden['hidden_error']:.2g} (limit "
        f"{of_hidden['hidden_limit']:.2g})" + (f"; rank {part_rank}" if len(by_rank) > 1 else ""),
    )


CHECK = Check(
    name="bf16 network",
    proves="each layer of the five small twins computes on this device what float32 on the CPU does",
    measure=measure,
    judge=judge,
    means="a layer computes something else than the definition, or memory or arithmetic of this GPU is faulty: no "
    "training or score from here can be trusted",
    remedy="run again; if one rank alone fails, leave that GPU out (CUDA_VISIBLE_DEVICES); if all do, install the "
    "torch that constraints.txt pins and report the layer",
    needs_gpu=True,
)
