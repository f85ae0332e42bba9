"""Seconds to compress a full-size network, and the ratio to a plain implementation.

The network has #715's shapes, filled with random numbers whose rows and columns differ in size like trained ones
(bench.codecs); Hessians and row weights are random too. Timed from reading the checkpoint to the verified file.
"ladder, all attempts" is the published policy if nothing fits, so that every rung is packed at every level: the worst
case. "ladder, one more rung" has a budget one byte below the first attempt, where #761's runs continued. "allocate"
rounds to nearest, with the first attempt's size as its budget.
A plain attempt works like the original: quantize every tensor, then compress everything as one zstd frame on one core.
It is timed on the first rung, at all four levels; the ratio assumes their mean for every attempt, in CPU seconds, which
are least affected by other load.
"""

import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from bench.codecs import synthetic
from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread
from pgolf.model.checkpoint import Checkpoint, save_checkpoint
from pgolf.model.tensor_file import save_tensors
from pgolf.pack import compress_stage as compress
from pgolf.pack.config import CompressConfig
from pgolf.pack.container import packed_part, serialize
from pgolf.pack.downgrade import rung_plan
from pgolf.pack.quantizer import Quantizer
from pgolf.pack.weights import to_content
from pgolf.quant.sensitivity import ROW_WEIGHTS
from pgolf.quant.threads import intra_op_threads
from pgolf.run_options import Fact, RunOptions

CODE_BYTES = 60_000


def write_inputs(checkpoint: Checkpoint, folder: Path) -> dict[str, Path]:
    """Write the inputs of the compress stage: the network, and a Hessian and row weights for each of its matrices."""
    inputs = {name: folder / name for name in ("checkpoint", "hessians")}
    for path in inputs.values():
        path.mkdir()
    save_checkpoint(inputs["checkpoint"] / "checkpoint.safetensors", checkpoint.config, checkpoint.state, {})
    draws = torch.Generator().manual_seed(1)
    factors = {}
    for name, tensor in checkpoint.state.items():
        if tensor.ndim == 2:
            rows, columns = tensor.shape
            x_NC = torch.randn(2 * columns, columns, generator=draws)
            factors[name] = x_NC.T @ x_NC
            factors[name + ROW_WEIGHTS] = torch.rand(rows, generator=draws) * 1e-6
    save_tensors(inputs["hessians"] / "hessians.safetensors", factors, {})
    return inputs


def compression_s(inputs: dict[str, Path], config: CompressConfig) -> tuple[float, float, dict[str, Fact]]:
    """Wall and CPU seconds of the whole stage on all cores, and its facts."""
    with tempfile.TemporaryDirectory() as out:
        began, cpu_began = time.perf_counter(), time.process_time()
        made = compress.make(config, inputs, Path(out), RunOptions(), code_bytes=CODE_BYTES)
        return time.perf_counter() - began, time.process_time() - cpu_began, dict(made.facts)


def plain_attempt(checkpoint: Checkpoint, config: CompressConfig, level: int) -> int:
    """One attempt from scratch: quantize every tensor, serialize, compress as one zstd frame; returns its bytes."""
    with intra_op_threads(1):
        quantizer = Quantizer(config, checkpoint.state, {}, 1)
        stored = quantizer.stored(rung_plan(quantizer, ()))
        return len(packed_part("zstd", level, serialize(to_content(stored, quantizer.dtypes, checkpoint.config, {}))))


def measure(checkpoint: Checkpoint, fp16_max_elements: int, repeats: int) -> list[Line]:
    """All lines; plain attempts and whole compressions are timed in turns."""
    base = CompressConfig(fp16_max_elements=fp16_max_elements)
    plain: list[Callable[[], object]] = [partial(plain_attempt, checkpoint, base, level) for level in base.zstd_levels]
    plain_s: list[float] = []
    seconds: dict[str, list[float]] = {}
    cpu_s: dict[str, list[float]] = {}
    facts: dict[str, dict[str, Fact]] = {}
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(checkpoint, Path(folder))

        def timed(name: str, **changes: object) -> dict[str, Fact]:
            taken_s, taken_cpu_s, facts[name] = compression_s(inputs, base.model_copy(update=changes))
            seconds.setdefault(name, []).append(taken_s)
            cpu_s.setdefault(name, []).append(taken_cpu_s)
            print(f"{name}: {taken_s:.1f} s, {taken_cpu_s:.1f} s of CPU", file=sys.stderr, flush=True)
            return facts[name]

        for _repeat in range(repeats):
            whole = timed("ladder, all attempts", budget_bytes=CODE_BYTES + 1, allow_over_budget=True)
            first = timed("first attempt alone", budget_bytes=10**9)
            timed("ladder, one more rung", budget_bytes=int(first["total_bytes"]) - 1)
            for codec in ("zstd", "rans"):
                timed(f"allocate, {codec}", policy="allocate", codec=codec, budget_bytes=int(first["total_bytes"]))
            for work in plain:
                began_s = time.process_time()
                work()
                plain_s.append(time.process_time() - began_s)
                print(f"plain attempt: {plain_s[-1]:.1f} s of CPU", file=sys.stderr, flush=True)
    attempts = int(whole["attempts"])
    mean_s = sum(plain_s) / len(plain_s)
    targets = {"ladder, all attempts": "<= 90", "ladder, one more rung": "<= 90", "allocate, zstd": "<= 180"}
    targets |= {"allocate, rans": "<= 180"}
    lines = []
    for name, taken_s in seconds.items():
        lines.append(Line(name, "s", Spread.of(taken_s), targets.get(name, "")))
        lines.append(Line(f"{name}: CPU", "s", Spread.of(cpu_s[name])))
        lines.append(Line(f"{name}: attempts", "packings", Spread.of([int(facts[name]["attempts"])])))
        if name.startswith("allocate"):
            used = 100 * (1 - int(facts[name]["under_bytes"]) / int(facts[name]["budget_bytes"]))
            lines.append(Line(f"{name}: budget used", "%", Spread.of([used]), ">= 99.95"))
    ladder_s = cpu_s["ladder, all attempts"]
    return [
        *lines,
        Line("plain attempt: CPU", "s", Spread.of(plain_s)),
        Line(f"{attempts} plain attempts / ladder", "times", Spread.of([attempts * mean_s / s for s in ladder_s])),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=1)
    options = parser.parse_args(argv)
    lines = measure(synthetic(), CompressConfig().fp16_max_elements, options.repeats)
    command = shlex.join(["python", "-m", "bench.compress_speed", *argv])
    show(Report.of("full-size compression", __doc__ or "", command, lines), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
