"""The compress stage: packs a checkpoint into one file that, with the code, fits the byte budget.

A policy proposes plans and sees the size each packs to. The packing it chooses is written, read back and compared bit
for bit.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from pgolf.errors import ArtifactError, BudgetExceeded, ConfigError
from pgolf.model.checkpoint import Checkpoint, load_checkpoint
from pgolf.model.tensor_file import load_tensors
from pgolf.pack.allocate import allocated
from pgolf.pack.clock import Clock
from pgolf.pack.config import CompressConfig, PolicyName
from pgolf.pack.container import pack, serialize
from pgolf.pack.downgrade import first_that_fits
from pgolf.pack.load import load_packed
from pgolf.pack.named_arrays import Content
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.rounding_plan import Plan
from pgolf.pack.sdclip import clipped
from pgolf.pack.trials import Trial, Trials
from pgolf.pack.weights import Stored, restore, same_bits, to_arrays, weights_digest
from pgolf.quant.scheme import tensor_class
from pgolf.quant.threads import intra_op_threads
from pgolf.run_options import Made, RunOptions

# What a policy is: the packing it chooses, of a quantizer's plans that it has tried; None where none fits.
POLICIES: Mapping[PolicyName, Callable[[Quantizer, Trials], Trial | None]] = {
    "published": first_that_fits,
    "allocate": allocated,
    "sdclip": clipped,
}

_LARGEST_SHOWN = 3


def make(config: CompressConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions, *, code_bytes: int) -> Made:
    """Write `model.pgolf` and `attempts.json`; report the digest of the decoded tensors as output `weights`.

    inputs: checkpoint, and where `config.needs_hessians` also hessians. code_bytes: what the code takes of the budget.
    Raises BudgetExceeded, and writes nothing, if no attempt fits, unless `config.allow_over_budget`; QuantizationError
    for weights or Hessians that cannot be used.
    """
    clock = Clock()
    checkpoint = load_checkpoint(inputs["checkpoint"] / "checkpoint.safetensors")
    hessians = _load_hessians(config, inputs)
    quantizer = Quantizer(config, checkpoint.state, hessians, run.threads or len(os.sched_getaffinity(0)))
    clock.lap("load")
    trials = Trials(checkpoint, quantizer, code_bytes, run, clock)
    # How many cores a machine has must not move the last bit of a sum: one thread per torch operation.
    with intra_op_threads(1):
        # Where all tensors stay in float16 there are no steps to choose, and one plan.
        chosen = POLICIES[config.policy if quantizer.quantized else "published"](quantizer, trials)
        if chosen is None:
            assert trials.smallest is not None, "every policy tries something"
            if not config.allow_over_budget:
                raise BudgetExceeded(*_over_budget(checkpoint, quantizer, code_bytes, trials).splitlines())
            chosen = trials.smallest
        predicted_loss = quantizer.predicted_loss(chosen.stored)
    path = out / "model.pgolf"
    path.write_bytes(chosen.file_bytes)
    rows = [row | {"chosen": row["attempt"] == chosen.number} for row in trials.rows]
    (out / "attempts.json").write_text(json.dumps(rows, indent=1) + "\n")
    decoded = _verified(path, checkpoint, chosen.stored)
    digest = weights_digest(checkpoint.config, decoded)
    clock.lap("verify")
    return Made(
        digests={"weights": digest},
        phases_s=clock.phases_s,
        facts={
            "artifact_bytes": len(chosen.file_bytes),
            "code_bytes": code_bytes,
            "total_bytes": chosen.total_bytes,
            "budget_bytes": config.budget_bytes,
            "under_bytes": config.budget_bytes - chosen.total_bytes,
            "fits": chosen.fits,
            "attempts": len(trials.rows),
            "policy": config.policy,
            "rung": chosen.plan.rung,
            "codec": config.codec,
            "level": chosen.level,
            "predicted_loss_nats": predicted_loss,
            "singular_hessians": ",".join(sorted(quantizer.singular)),
            "summary": _summary(quantizer, chosen.plan),
            "bits": _bits_by_class(quantizer, chosen.plan),
        },
    )


def _verified(path: Path, checkpoint: Checkpoint, stored: Mapping[str, Stored]) -> Mapping[str, Tensor]:
    """The tensors of the file just written, read back; ArtifactError unless they are the intended ones bit for bit."""
    decoded = load_packed(path)
    differing = [
        name
        for name, tensor in checkpoint.state.items()
        if name not in decoded.state or not same_bits(decoded.state[name], restore(stored[name], tensor.dtype))
    ]
    if differing or len(decoded.state) != len(stored):
        raise ArtifactError(
            f"{path}: read back, {len(differing)} of {len(stored)} tensors differ from what was packed"
            f"{f', the first is {differing[0]}' if differing else ''}; check the disk and run compress again"
        )
    if decoded.config != checkpoint.config or dict(decoded.facts) != dict(checkpoint.facts):
        raise ArtifactError(f"{path}: read back, its config or facts differ; check the disk and run compress again")
    return decoded.state


def _over_budget(checkpoint: Checkpoint, quantizer: Quantizer, code_bytes: int, trials: Trials) -> str:
    """The message of BudgetExceeded: by how much, what is largest, and what to change."""
    config, smallest = quantizer.config, trials.smallest
    assert smallest is not None
    over_bytes = smallest.total_bytes - config.budget_bytes
    alone = {
        # Level 1 is within some percent of the better levels on codes, and this is about which tensor is large.
        name: len(pack(serialize(Content({}, to_arrays({name: value}))), 1))
        for name, value in smallest.stored.items()
    }
    largest = sorted(alone, key=lambda name: (-alone[name], name))[:_LARGEST_SHOWN]
    shown = " · ".join([*(f"{name} {alone[name]:,}" for name in largest), f"code {code_bytes:,}"])
    summary = _summary(quantizer, smallest.plan) or "no matrix quantized"
    return (
        f"{smallest.total_bytes:,} bytes, {over_bytes:,} over the budget of {config.budget_bytes:,}, at the smallest "
        f"of {len(trials.rows)} attempts ({summary}, {_codec(config, smallest)})\n"
        f"  largest: {shown}\n"
        f"  {'; '.join(_advice(checkpoint, quantizer))}"
    )


def _advice(checkpoint: Checkpoint, quantizer: Quantizer) -> list[str]:
    config, network = quantizer.config, checkpoint.config
    advice = []
    if not quantizer.matrices:
        advice.append(
            f"no matrix has more than compress.fp16_max_elements ({config.fp16_max_elements:,}) elements, so all "
            "stay in float16: lower compress.fp16_max_elements"
        )
    elif config.policy == "published":
        if config.downgrade_bits is None:
            advice.append(f"set compress.downgrade_bits below {config.matrix_bits}")
        elif config.downgrade_bits > 2:
            advice.append(f"lower compress.downgrade_bits (now {config.downgrade_bits})")
        advice.append("or set compress.policy to allocate, which goes down to three levels")
    elif config.sdclip_k is not None:
        advice.append("raise compress.sdclip_k, or --set compress.sdclip_k=null to find the finest steps that fit")
    advice.append(f"train narrower or shallower (model.width {network.width}, model.layers {network.layers})")
    advice.append(f"or raise compress.budget_bytes ({config.budget_bytes:,}) if the rules allow it")
    advice.append("--allow-over-budget writes the smallest file all the same, marked as over budget")
    return advice


def _summary(quantizer: Quantizer, plan: Plan) -> str:
    """How many matrices have how many bits, widest first (int6×60 int5×6), or the one number of a freer policy."""
    counts = Counter(grid for name in quantizer.matrices if isinstance(grid := plan.grids[name], int))
    if not counts:
        return f"{quantizer.config.policy} {plan.rung}" if quantizer.config.policy != "published" else ""
    return " ".join(f"int{width}×{counts[width]}" for width in sorted(counts, reverse=True))


def _bits_by_class(quantizer: Quantizer, plan: Plan) -> str:
    """Mean bits of a weight's code by class of tensor, scales left out: mlp 5.50, attn 6.00, embed 8.00."""
    coded: dict[str, list[tuple[int, float]]] = {}
    for name, grid in plan.grids.items():
        bits = grid if isinstance(grid, int) else math.log2(2 * grid.levels + 1)
        coded.setdefault(tensor_class(name), []).append((quantizer.state[name].numel(), bits))
    means = {kind: sum(n * bits for n, bits in own) / sum(n for n, _bits in own) for kind, own in coded.items()}
    return ", ".join(f"{kind} {bits:.2f}" for kind, bits in means.items())


def _codec(config: CompressConfig, trial: Trial) -> str:
    return config.codec + (f" {trial.level}" if trial.level else "")


def _load_hessians(config: CompressConfig, inputs: Mapping[str, Path]) -> Mapping[str, Tensor]:
    if not config.needs_hessians:
        return {}
    if "hessians" not in inputs:
        raise ConfigError(
            f"compress.method {config.method} under policy {config.policy} needs Hessians, and none were given; "
            "add the calibrate stage, or --set compress.method=rtn under compress.policy published or sdclip"
        )
    hessians, _facts = load_tensors(inputs["hessians"] / "hessians.safetensors")
    return hessians
