"""The score stage: loss and entropy of every validation target under the packed network, by sliding windows.

The network may learn the text on the way (`pgolf.eval.ttt`): after it has scored it, or, marked as not causal, before.

Shapes: B windows of a batch, T positions of a window, D residual width, V vocabulary; P positions of a batch that are
predicted from, R those of them that are scored (records), both in evaluation order.
"""

import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import stream_digest, validation_tokens
from pgolf.errors import ConfigError, DataError
from pgolf.eval.batch_means import BatchMean, write_batch_means
from pgolf.eval.bpb import bits_per_byte, sum_nats
from pgolf.eval.chunks import WindowBatch, window_batches, window_bounds
from pgolf.eval.config import ScoreConfig
from pgolf.eval.in_order import map_in_order
from pgolf.eval.trace import Trace, write_trace
from pgolf.eval.ttt import Learner
from pgolf.eval.windows import Int64Array, WindowPlan, plan_windows
from pgolf.model.checkpoint import build_model
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.softcap import LogitRounding
from pgolf.model.untie import untie
from pgolf.pack.load import load_packed
from pgolf.run import Fact, Made, Progress, RunOptions

# Logits held at a time: 16 Mi float32 are 64 MiB, and the softmax needs three such arrays, at any vocabulary.
LOGITS_AT_A_TIME = 1 << 24

_REPORT_EVERY_S = 0.5

Tokens = npt.NDArray[np.uint16]


def make(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Score the validation tokens of `data` with the packed network of `model`.

    Writes trace.arrow, and batches.arrow where the configuration asks for batch means.
    Raises ConfigError where the precision asks for a device that is not there or test-time training would freeze every
    block, DataError and its kin for data that is shorter than one window or of another vocabulary, ArtifactError for a
    packed file that cannot be decoded, NonFiniteLoss where test-time training diverges.
    """
    started = time.perf_counter()
    device = device_for(config, run)
    packed = load_packed(inputs["model"] / "model.pgolf")
    dataset = open_dataset(inputs["data"])
    _check_vocabulary(dataset, packed.config)
    tokens = validation_tokens(dataset, window=config.window)
    plan = plan_windows(tokens.size - 1, window=config.window, stride=config.stride, tail=config.tail)
    table = ByteTable.from_tokenizer(dataset.tokenizer_model, vocab_size=packed.config.vocab_size)
    network, state = packed.config, packed.state
    if config.ttt and config.ttt.untie:
        network, state = untie(network, state)
    model = build_model(network, state, device)
    threads = cpu_threads(run) if device.type == "cpu" else 1
    learner = Learner(model, tokens, config.ttt, threads=threads) if config.ttt else None
    loaded = time.perf_counter()

    totals = _Totals(plan, tokens, table, run)
    if learner is not None and not config.causal:
        totals.watch_learning(learner)
    means: list[BatchMean] = []
    pieces = score_windows(model, tokens, plan, config, learner=learner, means=means, threads=threads)
    digest = stream_digest(tokens)
    write_trace(out / "trace.arrow", totals.watch(pieces), plan=plan, causal=config.causal, stream=digest)
    if config.batch_means:
        write_batch_means(out / "batches.arrow", means)
    facts: dict[str, Fact] = {
        "targets": plan.targets,
        "records": plan.records,
        "windows": plan.windows,
        "bytes": totals.bytes,
        "loss_nats": totals.nats / plan.records,
        "bpb": bits_per_byte(totals.nats, totals.bytes),
        "causal": config.causal,
        "device": device.type,
    }
    phases_s = {"load": loaded - started, "score": time.perf_counter() - loaded}
    if learner is not None:
        facts["ttt_steps"] = learner.steps
        phases_s["learn"] = learner.wall_s
        phases_s["score"] -= learner.wall_s
    return Made(phases_s=phases_s, facts=facts)


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
    model: GPT,
    tokens: Tokens,
    plan: WindowPlan,
    config: ScoreConfig,
    *,
    learner: Learner | None = None,
    means: list[BatchMean] | None = None,
    threads: int = 1,
) -> Iterator[Trace]:
    """Yield the records of the plan's windows in evaluation order, one batch at a time.

    tokens: the stream x[0..N]. learner: of this model; where the order is score_first, it learns each chunk once all
    its windows are scored, and nothing of a chunk is scored before the chunks before it are learned. means: where the
    configuration asks for batch means, they are appended here. threads: batches computed at once on a CPU, each by a
    single thread, so that the numbers are the same for any number of threads. Memory is that of threads + 1 batches.
    """
    bounds = window_bounds(plan, config.chunk_tokens or plan.targets).tolist()
    chunks = [range(first, last) for first, last in itertools.pairwise(bounds)]
    batches = (_batches(config, chunk, windows) for chunk, windows in enumerate(chunks))
    work = partial(_score_batch, model, tokens, plan, config)

    def scored(batches: Iterable[WindowBatch]) -> Iterator[Trace]:
        on_cpu = model.tok_emb.weight.device.type == "cpu"
        for piece, mean in map_in_order(work, batches, threads=threads) if on_cpu else map(work, batches):
            if means is not None and mean is not None:
                means.append(mean)
            yield piece

    if learner is None or config.ttt is None or config.ttt.order == "adapt_first":
        yield from scored(itertools.chain.from_iterable(batches))
        return
    for chunk, batches_of_chunk in enumerate(batches):
        yield from scored(batches_of_chunk)
        if chunk < learner.chunks:
            learner.learn(chunk)


def _batches(config: ScoreConfig, chunk: int, windows: range) -> Iterator[WindowBatch]:
    """A chunk's windows as they go through the network; batches whose means are wanted go through it as such."""
    if config.batch_means is None:
        return window_batches(chunk, windows, ranks=1, size=config.batch_windows)
    return window_batches(chunk, windows, ranks=config.batch_means.ranks, size=config.batch_means.windows)


@torch.inference_mode()
def _score_batch(
    model: GPT, tokens: Tokens, plan: WindowPlan, config: ScoreConfig, batch: WindowBatch
) -> tuple[Trace, BatchMean | None]:
    """Records of consecutive windows: one forward pass, then the head where it is needed.

    That is at the scored positions, or at all of them where the batch's means are wanted.
    """
    device = model.tok_emb.weight.device
    own = slice(batch.windows.start, batch.windows.stop)
    tokens_BT = torch.from_numpy(window_rows(tokens, plan, batch.windows)).to(device)
    h_BTD = model.hidden(tokens_BT)

    start_B, end_B, score_from_B = plan.start[own], plan.end[own], plan.score_from[own]
    row_P, position_P = _positions(score_from_B if config.batch_means is None else start_B, end_B)
    offset_P = position_P - start_B[row_P]
    h_PD = h_BTD[torch.from_numpy(row_P).to(device), torch.from_numpy(offset_P).to(device)]
    next_P = torch.from_numpy(tokens[position_P + 1].astype(np.int64)).to(device)
    loss_P, entropy_P = (
        column.cpu().numpy() for column in loss_and_entropy(model, h_PD, next_P, config.logit_rounding)
    )
    if config.batch_means is None:
        return Trace(position_P + 1, loss_P, entropy_P), None
    mean = BatchMean(
        batch.chunk,
        batch.rank,
        batch.batch,
        first_window=batch.windows.start,
        last_window=batch.windows.stop,
        positions=len(position_P),
        loss_nats=float(loss_P.mean(dtype=np.float64)),
        entropy_nats=float(entropy_P.mean(dtype=np.float64)),
    )
    scored_P = position_P >= score_from_B[row_P]
    return Trace(position_P[scored_P] + 1, loss_P[scored_P], entropy_P[scored_P]), mean


def _positions(first_B: Int64Array, end_B: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Window and position of first_B[0] .. end_B[0] - 1, first_B[1] .. end_B[1] - 1, …, int64 [P] each."""
    lengths_B = end_B - first_B
    row_P = np.repeat(np.arange(len(lengths_B)), lengths_B)
    before_B = np.cumsum(lengths_B) - lengths_B
    return row_P, np.arange(len(row_P)) + (first_B - before_B)[row_P]


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


def loss_and_entropy(model: GPT, h_PD: Tensor, next_P: Tensor, rounding: LogitRounding) -> tuple[Tensor, Tensor]:
    """Loss -ln q(next) and entropy of q, both float32 [P] in nats, at hidden states [P, D]."""
    rows = max(1, LOGITS_AT_A_TIME // model.config.vocab_size)
    losses, entropies = [], []
    for part_PD, part_P in zip(torch.split(h_PD, rows), torch.split(next_P, rows)):
        logp_PV = torch.log_softmax(model.logits(part_PD, rounding), dim=-1)
        losses.append(-logp_PV.gather(1, part_P[:, None])[:, 0])
        entropies.append(-(logp_PV.exp() * logp_PV).sum(-1))
    return torch.cat(losses), torch.cat(entropies)


class _Totals:
    """Running sums over the pieces on their way into the trace file: nats (float64) and bytes; reports progress.

    Progress counts targets that are scored and, where all are learned first, each time one is learned.
    """

    def __init__(self, plan: WindowPlan, tokens: Tokens, table: ByteTable, run: RunOptions) -> None:
        self._plan, self._tokens, self._table, self._run = plan, tokens, table, run
        self._learned = 0
        self._reported = time.perf_counter()
        self.records = 0
        self.nats = 0.0
        self.bytes = 0

    def watch_learning(self, learner: Learner) -> None:
        """Let the network learn every chunk."""
        targets = [learner.targets_of(chunk) for chunk in range(learner.chunks)]
        for chunk, count in enumerate(targets):
            learner.learn(chunk)
            self._learned += count
            facts: dict[str, Fact] = {"learned_chunks": chunk + 1, "chunks": learner.chunks}
            self._report(facts, total=sum(targets) + self._plan.records)

    def watch(self, pieces: Iterable[Trace]) -> Iterator[Trace]:
        """Pass the pieces on unchanged."""
        started = time.perf_counter()
        for piece in pieces:
            self.records += len(piece)
            self.nats += sum_nats(piece.loss_nats)
            first, last = int(piece.target.min()), int(piece.target.max())
            span_bytes = self._table.target_bytes(self._tokens[first - 1 : last + 1])
            self.bytes += int(span_bytes[piece.target - first].sum())
            targets_per_s = self.records / max(time.perf_counter() - started, 1e-9)
            facts: dict[str, Fact] = {"loss_nats": self.nats / self.records, "targets_per_s": targets_per_s}
            self._report(facts, total=self._learned + self._plan.records)
            yield piece

    def _report(self, facts: Mapping[str, Fact], *, total: int) -> None:
        now, done = time.perf_counter(), self._learned + self.records
        if now - self._reported >= _REPORT_EVERY_S or done == total:
            self._reported = now
            self._run.report(Progress(stage="score", done=done, total=total, unit="targets", facts=facts))


def _check_vocabulary(dataset: Dataset, config: ModelConfig) -> None:
    if dataset.vocab_size > config.vocab_size:
        raise DataError(
            f"{dataset.folder}: tokens of a vocabulary of {dataset.vocab_size:,}, the packed network knows "
            f"{config.vocab_size:,}; score the data the network was trained on"
        )
