"""Time, model FLOPs utilization (MFU) and memory of a training step of a full-size recipe on one device.

MFU is relative to the matrix rate measured in the same run (bfloat16 on CUDA, float32 on a CPU), with 6 FLOP per
multiply-add of every executed matrix and of causal attention. On CUDA whole steps are timed in the training loop
itself. On a CPU a whole step would take most of an hour, so its time is composed, not measured as a whole: one row
forward and backward, times the number of rows, plus one step of optimizers and averaging, on one thread like the
training stage.
"plain" is torch.optim.AdamW on single tensors and Muon one matrix at a time, on the same gradients, in turns.
"""

import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s, ratios, wall_s
from pgolf.corpus.shards import TokenStream, write_shard
from pgolf.model.config import ModelConfig
from pgolf.model.flops import training_flops_per_token
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model
from pgolf.model.kernels import choose_kernels
from pgolf.ranks.group import Ranks
from pgolf.recipes.catalog import recipe_named
from pgolf.train.averaging import WeightAverage
from pgolf.train.config import TrainConfig
from pgolf.train.groups import group_parameters
from pgolf.train.loop import StepReport, accumulate_gradients, average_and_clip, prime, train
from pgolf.train.muon import shape_factor
from pgolf.train.network_loss import NetworkLoss, network_loss
from pgolf.train.newton_schulz import NEWTON_SCHULZ, iteration_dtype
from pgolf.train.optimizers import Optimizers
from pgolf.train.spans import SpanReader

_PRIMING_STEPS = 3
_NO_GPU = """
Not measured on a GPU: none was available. On a GPU, `python -m bench train_step --recipe pr792 --steps 20` times whole
steps.
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """A network on a device, its loss, and spans of random tokens."""

    model: GPT
    config: TrainConfig
    loss: NetworkLoss
    spans: SpanReader
    device: torch.device

    def synchronized_s(self, work: Callable[[], object]) -> float:
        """Seconds of one call, until the device has finished."""

        def done() -> None:
            work()
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        return wall_s(done)


def workload(model: ModelConfig, config: TrainConfig, device: torch.device, folder: Path) -> Workload:
    """Initial weights of seed 1, and a shard with random tokens for two steps, which the stream repeats."""
    shard = folder / "random.bin"
    tokens = np.random.default_rng(1).integers(0, model.vocab_size, 2 * config.stream_tokens_per_step)
    write_shard(shard, tokens.astype(np.uint16))
    network = initial_model(model, 1).to(device)
    choose_kernels(device)
    return Workload(
        network, config, network_loss(network, config, device), SpanReader(TokenStream([shard]), config), device
    )


def matmul_rate(device: torch.device, repeats: int = 5) -> float:
    """FLOP/s of the fastest of several square matrix products, in the dtype used by training."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    calls = 10 if device.type == "cuda" else 1

    def products() -> None:
        for _ in range(calls):
            torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()

    products()
    best_s = min(wall_s(products) for _ in range(repeats))
    return float(calls * 2 * size**3 / best_s)


def loop_steps_ms(work: Workload) -> list[float]:
    """Milliseconds per step of the training loop, with lag 1, after priming; the first step is not counted."""
    reports: list[StepReport] = []
    prime(work.model, work.config, work.spans, Ranks(), loss=work.loss)
    train(
        work.model,
        work.config,
        work.spans,
        Ranks(),
        clock_s=time.perf_counter,
        on_step=reports.append,
        loss=work.loss,
        lag=1,
    )
    ends_s = [report.elapsed_s for report in reports]
    return [1e3 * (end - start) for start, end in pairwise(ends_s)]


def parts_ms(work: Workload, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each part of a step by itself, with the device idle before and after."""
    model, config, spans = work.model, work.config, work.spans
    optimizers = Optimizers(model, config, Ranks())
    average = WeightAverage(model.state_dict(), config)
    parts: dict[str, Callable[[], object]] = {
        "data": lambda: [spans.read(0, index, work.device) for index in range(config.spans_per_step)],
        "forward and backward": lambda: accumulate_gradients(model, config, spans, Ranks(), 0, loss=work.loss),
        "clipping": lambda: average_and_clip(model, config, optimizers),
        "AdamW": lambda: (optimizers.table_adam.step(lr=1e-4), optimizers.scalar_adam.step(lr=1e-4)),
        "Muon": lambda: optimizers.muon.step(lr=1e-4, momentum=0.95),
        "average": lambda: average.update(steps_done=1, rate_scale=1.0),
    }
    if work.device.type == "cuda":  # warm up allocations and kernel selection
        for part in parts.values():
            work.synchronized_s(part)
    return {name: [1e3 * work.synchronized_s(part) for _ in range(repeats)] for name, part in parts.items()}


def plain_over_ours(work: Workload, repeats: int) -> Spread:
    """Ratio of the plain optimizers' time to ours, in turns, on the same gradients."""
    groups = group_parameters(work.model)
    matrices = [*groups.matrices.values(), *groups.projections.values()]
    tables_and_scalars = [p for p in (*groups.tables.values(), *groups.scalars.values()) if p.grad is not None]
    adam = torch.optim.AdamW(tables_and_scalars, lr=1e-4, foreach=False)
    momenta = [torch.zeros_like(matrix) for matrix in matrices]
    ours = Optimizers(work.model, work.config, Ranks())

    def plain() -> None:
        adam.step()
        with torch.no_grad():
            for matrix, momentum in zip(matrices, momenta, strict=True):
                plain_muon(matrix, momentum, work.config)

    works = [plain, lambda: ours.step(rate_scale=1e-2, momentum=0.95)]
    if work.device.type == "cuda":  # warm up allocations and kernel selection
        for each in works:
            work.synchronized_s(each)
    return ratios(*in_turns_s([partial(work.synchronized_s, each) for each in works], repeats))


def plain_muon(matrix: nn.Parameter, momentum: torch.Tensor, config: TrainConfig) -> None:
    """A step of Muon in its usual form."""
    assert matrix.grad is not None
    momentum.mul_(0.95).add_(matrix.grad)
    x = matrix.grad.add(momentum, alpha=0.95).to(iteration_dtype(matrix.device))
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    a, b, c = NEWTON_SCHULZ
    for _ in range(config.muon_newton_schulz_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.T if tall else x
    matrix.mul_(1 - 1e-6).add_(x.to(matrix.dtype), alpha=-1e-4 * shape_factor(matrix.shape))


def measure(model: ModelConfig, config: TrainConfig, device: torch.device, steps: int, repeats: int) -> list[Line]:
    """All lines of the report; `steps` whole steps on CUDA, `repeats` of every part."""
    on_cuda = device.type == "cuda"
    rate = matmul_rate(device)
    flops = training_flops_per_token(model, config.sequence_length)
    tokens = config.tokens_per_step
    one_row = {"tokens_per_step": config.sequence_length, "spans_per_step": 1}
    timed = {"steps": steps + 1, "clock_limit_s": None, "priming_steps": _PRIMING_STEPS, "average": "ema"}
    config = config.model_copy(update=timed | ({} if on_cuda else one_row))
    with tempfile.TemporaryDirectory(prefix="pgolf-bench-") as folder:
        work = workload(model, config, device, Path(folder))
        steps_ms = loop_steps_ms(work) if on_cuda else []
        parts = parts_ms(work, repeats)
        plain = plain_over_ours(work, repeats)
    rate = max(rate, matmul_rate(device))  # other load now may not have been there before
    rows = tokens // config.tokens_per_step  # 1 if the whole step was measured
    if not on_cuda:
        once_ms = sum(Spread.of(parts[name]).median for name in ("clipping", "AdamW", "Muon", "average"))
        steps_ms = [rows * row_ms + once_ms for row_ms in parts["forward and backward"]]
    return [
        Line("step" if on_cuda else "step, composed", "ms", Spread.of(steps_ms)),
        Line("speed", "tokens/s", Spread.of([1e3 * tokens / ms for ms in steps_ms])),
        Line(
            "utilisation",
            "%",
            Spread.of([utilisation(flops * tokens, ms, rate) for ms in steps_ms]),
            _mfu_target(device),
        ),
        Line("largest product", "TFLOP/s", Spread.of([rate / 1e12])),
        Line("model", "MFLOP/token", Spread.of([flops / 1e6])),
        Line("peak memory", "GiB", Spread.of([peak_memory_bytes(device) / 2**30])),
        *(
            Line(f"{name}{'' if on_cuda or name not in _BY_ROW else ', one row'}", "ms", Spread.of(part))
            for name, part in parts.items()
        ),
        Line("AdamW and Muon: plain / ours", "times", plain),
    ]


_BY_ROW = ("data", "forward and backward")


def utilisation(flops: float, step_ms: float, rate: float) -> float:
    """A step's FLOP/s in percent of the measured matrix rate."""
    return 100 * flops / (1e-3 * step_ms * rate)


def _mfu_target(device: torch.device) -> str:
    return ">= 40" if device.type == "cuda" else ""


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of tensors on CUDA, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=3)
    parser.add_argument("--recipe", default="pr792", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=20, help="whole steps timed on CUDA (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument(
        "--attention", choices=("flash", "cudnn"), default="flash", help="on CUDA (default: %(default)s)"
    )
    parser.add_argument("--no-compile", action="store_true", help="run the network operation by operation on CUDA")
    options = parser.parse_args(argv)
    recipe = recipe_named(options.recipe)
    on_cuda = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if on_cuda else "cpu")
    if on_cuda:  # use only the requested device
        torch.backends.cuda.enable_flash_sdp(options.attention == "flash")
        torch.backends.cuda.enable_cudnn_sdp(options.attention == "cudnn")
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_math_sdp(False)
    torch.set_num_threads(1)  # as the stage does on a CPU
    config = recipe.train.model_copy(update={"compile": recipe.train.compile and not options.no_compile})
    how = f"{options.attention} attention, {'compiled' if config.compile else 'not compiled'}"
    title = f"training step, {recipe.name}, {config.tokens_per_step:,} tokens, " + (
        f"one GPU, {how}" if on_cuda else "one thread, composed"
    )
    lines = measure(recipe.model, config, device, options.steps, options.repeats)
    about = (__doc__ or "") + ("" if on_cuda else _NO_GPU)
    report = Report.of(title, about, shlex.join(["python", "-m", "bench", "train_step", *argv]), lines)
    if on_cuda:
        report = replace(report, device=f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    show(report, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
