"""The compress stage: a checkpoint becomes one file that fits the byte budget together with the code.

Attempts go from best quality to smallest: every zstd level with all matrices at `matrix_bits`, then layer after layer
from the middle outward at `downgrade_bits`. The first that fits is written, read back and compared bit for bit.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from pgolf.errors import ArtifactError, BudgetExceeded, ConfigError
from pgolf.model.checkpoint import Checkpoint, load_checkpoint
from pgolf.model.tensor_file import load_tensors
from pgolf.pack.config import CompressConfig
from pgolf.pack.container import Content, pack, serialize
from pgolf.pack.downgrade import middle_out, rungs
from pgolf.pack.load import load_packed
from pgolf.pack.packing import Packing, packed_in_order
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.weights import Stored, restore, same_bits, to_arrays, to_content, weights_digest
from pgolf.quant.threads import intra_op_threads
from pgolf.run import Made, Progress, RunOptions

_LARGEST_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One packing that was tried. size_bytes is the file's; total_bytes adds the code's."""

    downgraded_layers: tuple[int, ...]
    zstd_level: int
    size_bytes: int
    total_bytes: int
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The first attempt that fits: the file's bytes, and what each tensor is stored as."""

    attempt: Attempt
    file_bytes: bytes
    stored: Mapping[str, Stored]


def make(config: CompressConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions, *, code_bytes: int) -> Made:
    """Write `model.pgolf` and `attempts.json`; report the digest of the decoded tensors as output `weights`.

    inputs: checkpoint, and for method gptq also hessians. code_bytes: what the code takes of the budget.
    Raises BudgetExceeded, and writes nothing, if no attempt fits; QuantizationError for weights or Hessians that
    cannot be used.
    """
    clock = _Clock()
    checkpoint = load_checkpoint(inputs["checkpoint"] / "checkpoint.safetensors")
    hessians = _load_hessians(config, inputs)
    quantizer = Quantizer(config, checkpoint.state, hessians, run.threads or len(os.sched_getaffinity(0)))
    clock.lap("load")
    attempts: list[Attempt] = []
    # How many cores a machine has must not move the last bit of a sum: one thread per torch operation.
    with intra_op_threads(1):
        fit = _first_fit(checkpoint, quantizer, code_bytes, attempts, run, clock)
    if fit is None:
        raise BudgetExceeded(_over_budget(checkpoint, quantizer, code_bytes, attempts))
    path = out / "model.pgolf"
    path.write_bytes(fit.file_bytes)
    rows = [{"attempt": number, **asdict(attempt)} for number, attempt in enumerate(attempts)]
    (out / "attempts.json").write_text(json.dumps(rows, indent=1) + "\n")
    decoded = _verified(path, checkpoint, fit.stored)
    digest = weights_digest(checkpoint.config, decoded)
    clock.lap("verify")
    return Made(
        digests={"weights": digest},
        phases_s=clock.phases_s,
        facts={
            "artifact_bytes": fit.attempt.size_bytes,
            "code_bytes": code_bytes,
            "total_bytes": fit.attempt.total_bytes,
            "budget_bytes": config.budget_bytes,
            "under_bytes": config.budget_bytes - fit.attempt.total_bytes,
            "attempts": len(attempts),
            "zstd_level": fit.attempt.zstd_level,
            "downgraded_layers": ",".join(map(str, fit.attempt.downgraded_layers)),
            "singular_hessians": ",".join(sorted(quantizer.singular)),
            "summary": _bits_summary(quantizer.matrix_bits(frozenset(fit.attempt.downgraded_layers))),
        },
    )


def _first_fit(
    checkpoint: Checkpoint,
    quantizer: Quantizer,
    code_bytes: int,
    attempts: list[Attempt],
    run: RunOptions,
    clock: "_Clock",
) -> Fit | None:
    """Try rung after rung and level after level, adding each attempt to `attempts`; None if all are too large."""
    config = quantizer.config
    order: Sequence[int] = ()
    if config.downgrade_bits is not None:
        # A layer whose matrices are all small enough for float16 has nothing to lose.
        order = [layer for layer in middle_out(checkpoint.config.layers) if layer in quantizer.layers]
    total = (len(order) + 1) * len(config.zstd_levels)

    def packings() -> Iterator[Packing]:
        for downgraded in rungs(order):
            stored = quantizer.stored(frozenset(downgraded))
            decoded = serialize(to_content(stored, quantizer.dtypes, checkpoint.config, checkpoint.facts))
            clock.lap("quantize")
            for level in config.zstd_levels:
                yield Packing(downgraded, stored, decoded, level)

    with closing(packed_in_order(packings(), quantizer.workers)) as finished:
        for packing, file_bytes in finished:
            clock.lap("pack")
            total_bytes = len(file_bytes) + code_bytes
            attempt = Attempt(
                downgraded_layers=packing.downgraded_layers,
                zstd_level=packing.zstd_level,
                size_bytes=len(file_bytes),
                total_bytes=total_bytes,
                fits=total_bytes <= config.budget_bytes,
            )
            attempts.append(attempt)
            facts = {
                "total_bytes": total_bytes,
                "zstd_level": attempt.zstd_level,
                "downgraded": len(attempt.downgraded_layers),
            }
            run.report(Progress(stage="compress", done=len(attempts), total=total, unit="attempts", facts=facts))
            if attempt.fits:
                return Fit(attempt=attempt, file_bytes=file_bytes, stored=packing.stored)
    return None


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


def _over_budget(checkpoint: Checkpoint, quantizer: Quantizer, code_bytes: int, attempts: Sequence[Attempt]) -> str:
    """The message of BudgetExceeded: by how much, what is largest, and what to change."""
    config = quantizer.config
    smallest = min(attempts, key=lambda attempt: attempt.total_bytes)
    over_bytes = smallest.total_bytes - config.budget_bytes
    bits = quantizer.matrix_bits(frozenset(smallest.downgraded_layers))
    stored = quantizer.stored(frozenset(smallest.downgraded_layers))
    alone = {
        # Level 1 is within some percent of the better levels on codes, and this is about which tensor is large.
        name: len(pack(serialize(Content({}, to_arrays({name: value}))), 1))
        for name, value in stored.items()
    }
    largest = sorted(alone, key=lambda name: (-alone[name], name))[:_LARGEST_SHOWN]
    shown = " · ".join([*(f"{name} {alone[name]:,}" for name in largest), f"code {code_bytes:,}"])
    return (
        f"{smallest.total_bytes:,} bytes, {over_bytes:,} over the budget of {config.budget_bytes:,}, at the smallest "
        f"of {len(attempts)} attempts ({_bits_summary(bits) or 'no matrix quantized'}, zstd {smallest.zstd_level})\n"
        f"  largest: {shown}\n"
        f"  {'; '.join(_advice(checkpoint, quantizer))}"
    )


def _advice(checkpoint: Checkpoint, quantizer: Quantizer) -> list[str]:
    config, network = quantizer.config, checkpoint.config
    advice = []
    if not quantizer.layers:
        advice.append(
            f"no matrix has more than CompressConfig.fp16_max_elements ({config.fp16_max_elements:,}) elements, so all "
            "stay in float16: lower it"
        )
    elif config.downgrade_bits is None:
        advice.append(f"set CompressConfig.downgrade_bits below {config.matrix_bits}")
    elif config.downgrade_bits > 2:
        advice.append(f"lower CompressConfig.downgrade_bits (now {config.downgrade_bits})")
    advice.append(f"train narrower or shallower (ModelConfig.width {network.width}, layers {network.layers})")
    advice.append(f"or raise CompressConfig.budget_bytes ({config.budget_bytes:,}) if the rules allow it")
    return advice


def _bits_summary(bits: Mapping[str, int]) -> str:
    """How many matrices have how many bits, widest first: int6×60 int5×6."""
    counts = Counter(bits.values())
    return " ".join(f"int{width}×{counts[width]}" for width in sorted(counts, reverse=True))


def _load_hessians(config: CompressConfig, inputs: Mapping[str, Path]) -> Mapping[str, Tensor]:
    if config.method != "gptq":
        return {}
    if "hessians" not in inputs:
        raise ConfigError(
            "CompressConfig.method gptq needs Hessians, and none were given; add the calibrate stage, or use method rtn"
        )
    hessians, _facts = load_tensors(inputs["hessians"] / "hessians.safetensors")
    return hessians


class _Clock:
    """Wall seconds by phase: each lap goes to the phase that has just ended."""

    def __init__(self) -> None:
        self.phases_s: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.phases_s[phase] = self.phases_s.get(phase, 0.0) + now - self._since
        self._since = now
