"""Speed of the score stage, compared with computing all logits at all positions.

On a CPU, at the size of the named recipe, in float32 with random weights: the stage scores the last `stride` targets of
each window; "plain" runs every block for every position, then computes all logits, their log-softmax and entropy at
every position, one window at a time like the stage. Both on the same windows, in turns. With two threads the stage runs
two windows in parallel, while plain lets torch split each operation. The upper bound of the ratio is computed: plain's
time over that time minus the arithmetic that the last block, the head and the softmax can skip, at the average speed of
plain's arithmetic. Attention runs below that speed, so skipping some of it can save more than that. With a stride as
long as the window there is nothing to save. CPU time is the cost of one thread even if other processes compete for the
cores; wall time is what was waited.

On a GPU, in bfloat16: plain is the published loop: batches of 32 windows, all logits in float32, and per window a copy
of its losses and entropies to the host.
"""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s, ratios, wall_s
from pgolf.eval.chunks import WindowBatch
from pgolf.eval.config import ScoreConfig
from pgolf.eval.forward import Stream, WindowPass, windows_at_a_time
from pgolf.eval.windows import WindowPlan, plan_windows
from pgolf.model.config import ModelConfig
from pgolf.model.flops import attention_multiply_adds, matrix_multiply_adds
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model
from pgolf.model.kernels import choose_kernels
from pgolf.quant.threads import intra_op_threads
from pgolf.recipes.catalog import recipe_named

PUBLISHED_BATCH = 32
_NO_GPU = """
Not measured on a GPU: none was available. On a GPU, `python -m bench score_speed` compares with the published loop.
"""


def last_windows(plan: WindowPlan, count: int, size: int) -> list[WindowBatch]:
    """Batches of windows that each score their last `stride` positions (all windows but the first)."""
    end = 1 + count
    return [WindowBatch(0, 0, 0, range(first, min(first + size, end))) for first in range(1, end, size)]


class Measured:
    """A network, a stream of random tokens, and both ways of scoring its windows."""

    def __init__(self, model: GPT, config: ScoreConfig, windows: int) -> None:
        self.model, self.config = model, config
        self.device = model.tok_emb.weight.device
        # A window more in front, scored whole, and one at the end, which nothing is cut off of.
        targets = config.window + config.stride * (windows + 1)
        self.plan = plan_windows(targets, window=config.window, stride=config.stride)
        tokens = np.random.default_rng(1).integers(0, model.config.vocab_size, targets + 1).astype(np.uint16)
        self.tokens = tokens
        self.forward = WindowPass(model, Stream.on(self.device, tokens), self.plan, config)

    def ours(self, windows: int, threads: int) -> None:
        """Score the first windows like the stage."""
        size = min(windows, windows_at_a_time(self.config, self.model.config, self.device.type))
        for _ in self.forward.run(last_windows(self.plan, windows, size), threads=threads):
            pass

    @torch.inference_mode()
    def plain(self, windows: int, size: int) -> None:
        """Compute all logits at all positions, in batches of `size`; copy the scored ones window by window."""
        for first in range(1, 1 + windows, size):
            starts = self.plan.start[first : first + size]
            rows = np.stack([self.tokens[start : start + self.config.window + 1] for start in starts]).astype(np.int64)
            rows_BT1 = torch.from_numpy(rows).to(self.device)
            logits_BTV = self.model.logits(self.model.hidden(rows_BT1[:, :-1])).float()
            logp_BTV = F.log_softmax(logits_BTV, dim=-1)
            entropy_BT = -(logp_BTV.exp() * logp_BTV).sum(-1)
            loss_BT = -logp_BTV.gather(-1, rows_BT1[:, 1:, None])[..., 0]
            for row in range(len(starts)):
                loss_BT[row, -self.config.stride :].cpu().numpy()
                entropy_BT[row, -self.config.stride :].cpu().numpy()


def multiply_adds(model: ModelConfig, window: int, last: int | None = None) -> float:
    """Multiply-adds of one window; last: only this many positions pass the last block's queries and what follows."""
    whole = window * (matrix_multiply_adds(model) + attention_multiply_adds(model, window))
    if last is None:
        return whole
    width = model.width
    per_query = 2 * width * width + 2 * model.mlp_width * width + model.vocab_size * width
    per_query += model.heads * width if model.gated_attention else 0
    attention = attention_multiply_adds(model, window) // model.executed_layers * window
    # The last queries attend to the most keys: window - (last - 1) / 2 on average.
    asked = 2 * width * last * (window - (last - 1) / 2)
    return whole - (window - last) * per_query - attention + asked


def most(model: ModelConfig, config: ScoreConfig, plain_s: float) -> tuple[float, float]:
    """Upper bound of the ratio, and the share of plain's time spent in softmax and entropy."""
    logits = torch.randn(config.window, model.vocab_size)

    def softmax() -> None:
        logp = F.log_softmax(logits, dim=-1)
        (logp.exp() * logp).sum(-1)

    softmax()
    softmax_s = min(wall_s(softmax) for _ in range(5))
    whole, needed = multiply_adds(model, config.window), multiply_adds(model, config.window, config.stride)
    ours_s = (plain_s - softmax_s) * needed / whole + softmax_s * config.stride / config.window
    return plain_s / ours_s, softmax_s / plain_s


def on_cpu(model: GPT, config: ScoreConfig, repeats: int) -> list[Line]:
    """Ratios with one and two threads, and with a stride as long as the window."""
    lines = []
    for threads, windows in ((1, 1), (2, 2)):
        work = Measured(model, config, windows)
        ours, plain, ours_cpu, plain_cpu = _in_turns(work, windows, threads, repeats)
        name = f"{threads} thread{'s' if threads > 1 else ''}"
        lines += [
            Line(f"{name}: stage", "s/window", Spread.of(ours)),
            Line(f"{name}: plain", "s/window", Spread.of(plain)),
            Line(f"{name}: plain / stage", "times", ratios(plain, ours), ">= 1.1"),
        ]
        if threads == 1:
            limit, softmax_share = most(model.config, config, min(plain_cpu))
            whole = multiply_adds(model.config, config.window)
            needed = multiply_adds(model.config, config.window, config.stride)
            reached = [p / o / limit for p, o in zip(plain_cpu, ours_cpu, strict=True)]
            lines += [
                Line("1 thread: plain / stage, processor time", "times", ratios(plain_cpu, ours_cpu), ">= 1.1"),
                Line("multiply-adds: plain / stage", "times", Spread.of([whole / needed])),
                Line("softmax and entropy of plain", "% of its time", Spread.of([100 * softmax_share])),
                Line("most that plain / stage could be", "times", Spread.of([limit])),
                Line("1 thread, processor time: ratio reached / most", "times", Spread.of(reached)),
            ]
    whole = Measured(model, config.model_copy(update={"stride": config.window}), 1)
    ours, plain, ours_cpu, plain_cpu = _in_turns(whole, 1, 1, repeats)
    name = "stride = window, 1 thread: plain / stage"
    return [
        *lines,
        Line(name, "times", ratios(plain, ours), ">= 1"),
        Line(f"{name}, processor time", "times", ratios(plain_cpu, ours_cpu), ">= 1"),
    ]


def _in_turns(work: Measured, windows: int, threads: int, repeats: int) -> tuple[list[float], ...]:
    """Wall seconds per window of stage and plain, in turns, then CPU seconds of the same turns."""

    def plain() -> None:
        with intra_op_threads(threads):
            work.plain(windows, size=1)

    works: list[Callable[[], object]] = [partial(work.ours, windows, threads), plain]
    for each in works:  # warm up allocations and kernel selection
        each()
    cpu_s: list[list[float]] = [[], []]

    def timed(number: int) -> None:
        began_s = time.process_time()
        works[number]()
        cpu_s[number].append(time.process_time() - began_s)

    wall = in_turns_s([partial(timed, 0), partial(timed, 1)], repeats)
    return tuple([seconds / windows for seconds in each] for each in (*wall, *cpu_s))


def on_gpu(model: GPT, config: ScoreConfig, repeats: int) -> list[Line]:
    """The ratio to the published loop, over the windows of eight of its batches or one of ours."""
    windows = max(8 * PUBLISHED_BATCH, windows_at_a_time(config, model.config, "cuda")) // PUBLISHED_BATCH
    windows *= PUBLISHED_BATCH
    work = Measured(model, config, windows)

    def synchronized(run: Callable[[], object]) -> None:
        run()
        torch.cuda.synchronize()

    works = [
        partial(synchronized, partial(work.ours, windows, 1)),
        partial(synchronized, partial(work.plain, windows, PUBLISHED_BATCH)),
    ]
    for each in works:
        each()
    ours, plain = in_turns_s(works, repeats)
    return [
        Line("stage", "windows/s", Spread.of([windows / seconds for seconds in ours])),
        Line("published loop", "windows/s", Spread.of([windows / seconds for seconds in plain])),
        Line("published loop / stage", "times", ratios(plain, ours), ">= 1.5"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=7)
    parser.add_argument("--recipe", default="pr715", help="default: %(default)s")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    options = parser.parse_args(argv)
    on_cuda = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    recipe = recipe_named(options.recipe)
    config = recipe.score.model_copy(update={"ttt": None, "batch_means": None})
    model = initial_model(recipe.model, 1).eval().to("cuda" if on_cuda else "cpu")
    choose_kernels(model.tok_emb.weight.device)
    lines = (on_gpu if on_cuda else on_cpu)(model, config, options.repeats)
    title = f"scoring, {recipe.name}, window {config.window:,}, stride {config.stride}"
    about = (__doc__ or "") + ("" if on_cuda else _NO_GPU)
    report = Report.of(title, about, shlex.join(["python", "-m", "bench", "score", *argv]), lines)
    if on_cuda:
        report = replace(report, device=f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    show(report, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
