"""The score stage: loss and entropy of every validation target under the packed network, by sliding windows.

Shapes: B windows of a batch, T positions of a window, D residual width, V vocabulary; R scored positions (records) of a
batch, in evaluation order.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import validation_tokens
from pgolf.errors import ConfigError, DataError
from pgolf.eval.bpb import bits_per_byte, sum_nats
from pgolf.eval.config import ScoreConfig
from pgolf.eval.trace import Trace, write_trace
from pgolf.eval.windows import WindowPlan, plan_windows
from pgolf.model.checkpoint import build_model
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.pack.load import load_packed
from pgolf.run import Made, Progress, RunOptions

# Logits held at a time: 16 Mi float32 are 64 MiB, and the softmax needs three such arrays, at any vocabulary.
LOGITS_AT_A_TIME = 1 << 24

_REPORT_EVERY_S = 0.5

Tokens = npt.NDArray[np.uint16]


def make(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Score the validation tokens of `data` with the packed network of `model`; writes trace.arrow.

    Raises ConfigError where the precision asks for a device that is not there, DataError and its kin for data that is
    shorter than one window or of another vocabulary, ArtifactError for a packed file that cannot be decoded.
    """
    started = time.perf_counter()
    device = device_for(config, run)
    packed = load_packed(inputs["model"] / "model.pgolf")
    dataset = open_dataset(inputs["data"])
    _check_vocabulary(dataset, packed.config)
    tokens = validation_tokens(dataset, window=config.window)
    plan = plan_windows(tokens.size - 1, window=config.window, stride=config.stride, tail=config.tail)
    table = ByteTable.from_tokenizer(dataset.tokenizer_model, vocab_size=packed.config.vocab_size)
    model = build_model(packed.config, packed.state, device)
    loaded = time.perf_counter()

    totals = _Totals(plan, tokens, table, run)
    threads = cpu_threads(run) if device.type == "cpu" else 1
    pieces = score_windows(model, tokens, plan, batch_windows=config.batch_windows, threads=threads)
    write_trace(out / "trace.arrow", totals.watch(pieces), plan=plan)
    return Made(
        phases_s={"load": loaded - started, "score": time.perf_counter() - loaded},
        facts={
            "targets": plan.targets,
            "records": plan.records,
            "windows": plan.windows,
            "bytes": totals.bytes,
            "loss_nats": totals.nats / plan.records,
            "bpb": bits_per_byte(totals.nats, totals.bytes),
            "device": device.type,
        },
    )


def device_for(config: ScoreConfig, run: RunOptions) -> torch.device:
    """The device that computes in the precision asked for; `run.device` may confirm it, not change it.

    The network computes in float32 on a CPU and in bfloat16 on CUDA, and the two give other losses (up to 1e-2 nats a
    token). So precision, which is part of the output's identity, chooses the device. Raises ConfigError where it is
    not there or another one was asked for.
    """
    needed = "cuda" if config.precision == "bfloat16" else "cpu"
    if run.device not in ("auto", needed):
        other = "bfloat16" if run.device == "cuda" else "float32"
        raise ConfigError(
            f"precision {config.precision} is computed on {needed}, but device {run.device} was asked for; "
            f"set score.precision={other}, or leave the device to choose itself"
        )
    if needed == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "precision bfloat16 is computed on CUDA, and torch finds no CUDA device; run on a GPU node, "
            "or set score.precision=float32"
        )
    return torch.device(needed)


def cpu_threads(run: RunOptions) -> int:
    """Threads for one process: as asked for, or the cores this process may use."""
    return run.threads or len(os.sched_getaffinity(0))


def score_windows(
    model: GPT, tokens: Tokens, plan: WindowPlan, *, batch_windows: int, threads: int = 1
) -> Iterator[Trace]:
    """Yield the records of the plan's windows in evaluation order, one batch at a time.

    tokens: the stream x[0..N]. threads: batches computed at once, each by a single thread, so that the numbers are the
    same for any number of threads. Memory is that of threads + 1 batches.
    """
    starts = range(0, plan.windows, batch_windows)
    batches = [range(first, min(first + batch_windows, plan.windows)) for first in starts]
    score = partial(_score_batch, model, tokens, plan)
    if model.tok_emb.weight.device.type != "cpu":
        yield from map(score, batches)
        return
    # Parallel over batches, not inside them: a matrix product cut over two threads rounds otherwise than over four, and
    # at a few thousand rows the threads would mostly wait for one another.
    before = torch.get_num_threads()
    try:
        yield from _in_order(score, batches, threads)
    finally:
        # The workers' 1 also became what threads started later begin with.
        torch.set_num_threads(before)


def _in_order(score: Callable[[range], Trace], batches: Iterable[range], threads: int) -> Iterator[Trace]:
    """score(batch) for every batch, in their order, `threads` of them at work at any time."""
    pending: deque[Future[Trace]] = deque()
    with ThreadPoolExecutor(
        threads, thread_name_prefix="score", initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        try:
            for batch in batches:
                pending.append(pool.submit(score, batch))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@torch.inference_mode()
def _score_batch(model: GPT, tokens: Tokens, plan: WindowPlan, windows: range) -> Trace:
    """Records of consecutive windows: one forward pass, then the head at the scored positions alone."""
    device = model.tok_emb.weight.device
    own = slice(windows.start, windows.stop)
    tokens_BT = torch.from_numpy(window_rows(tokens, plan, windows)).to(device)
    h_BTD = model.hidden(tokens_BT)

    target_R = plan.record_targets(windows.start, windows.stop)
    lengths_B = plan.end[own] - plan.score_from[own]
    row_R = np.repeat(np.arange(len(windows)), lengths_B)
    # Position p predicts target p + 1, and stands at offset p - start of its window.
    offset_R = target_R - 1 - np.repeat(plan.start[own], lengths_B)
    h_RD = h_BTD[torch.from_numpy(row_R).to(device), torch.from_numpy(offset_R).to(device)]
    next_R = torch.from_numpy(tokens[target_R].astype(np.int64)).to(device)
    loss_R, entropy_R = loss_and_entropy(model, h_RD, next_R)
    return Trace(target_R, loss_R.cpu().numpy(), entropy_R.cpu().numpy())


def window_rows(tokens: Tokens, plan: WindowPlan, windows: range) -> npt.NDArray[np.int64]:
    """What the network reads for each window, int64 [B, T]; windows cut off by the end are padded right with id 0.

    Always a whole window wide, because the rotary base depends on the width; what stands right of a position cannot
    reach it, so the padding is harmless.
    """
    own = slice(windows.start, windows.stop)
    position_BT = plan.start[own, None] + np.arange(plan.window)
    rows_BT: npt.NDArray[np.int64] = tokens[np.minimum(position_BT, tokens.size - 1)].astype(np.int64)
    rows_BT[position_BT >= plan.end[own, None]] = 0
    return rows_BT


def loss_and_entropy(model: GPT, h_RD: Tensor, next_R: Tensor) -> tuple[Tensor, Tensor]:
    """Loss -ln q(next) and entropy of q, both float32 [R] in nats, at hidden states [R, D]."""
    rows = max(1, LOGITS_AT_A_TIME // model.config.vocab_size)
    losses, entropies = [], []
    for part_RD, part_R in zip(torch.split(h_RD, rows), torch.split(next_R, rows)):
        logp_RV = torch.log_softmax(model.logits(part_RD).float(), dim=-1)
        losses.append(-logp_RV.gather(1, part_R[:, None])[:, 0])
        entropies.append(-(logp_RV.exp() * logp_RV).sum(-1))
    return torch.cat(losses), torch.cat(entropies)


class _Totals:
    """Running sums over the pieces on their way into the trace file: nats (float64) and bytes; reports progress."""

    def __init__(self, plan: WindowPlan, tokens: Tokens, table: ByteTable, run: RunOptions) -> None:
        self._plan, self._tokens, self._table, self._run = plan, tokens, table, run
        self.records = 0
        self.nats = 0.0
        self.bytes = 0

    def watch(self, pieces: Iterable[Trace]) -> Iterator[Trace]:
        """Pass the pieces on unchanged."""
        started = reported = time.perf_counter()
        for piece in pieces:
            self.records += len(piece)
            self.nats += sum_nats(piece.loss_nats)
            first, last = int(piece.target.min()), int(piece.target.max())
            span_bytes = self._table.target_bytes(self._tokens[first - 1 : last + 1])
            self.bytes += int(span_bytes[piece.target - first].sum())
            now = time.perf_counter()
            if now - reported >= _REPORT_EVERY_S or self.records == self._plan.records:
                reported = now
                self._report(now - started)
            yield piece

    def _report(self, elapsed_s: float) -> None:
        facts = {"loss_nats": self.nats / self.records, "targets_per_s": self.records / max(elapsed_s, 1e-9)}
        progress = Progress(stage="score", done=self.records, total=self._plan.records, unit="targets", facts=facts)
        self._run.report(progress)


def _check_vocabulary(dataset: Dataset, config: ModelConfig) -> None:
    if dataset.vocab_size > config.vocab_size:
        raise DataError(
            f"{dataset.folder}: tokens of a vocabulary of {dataset.vocab_size:,}, the packed network knows "
            f"{config.vocab_size:,}; score the data the network was trained on"
        )
