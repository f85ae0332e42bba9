"""One rank's part of scoring: its share of the batches, with test-time training between chunks if configured."""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import stream_digest, validation_tokens
from pgolf.errors import DataError
from pgolf.eval.batch_means import BatchMean
from pgolf.eval.bpb import sum_nats
from pgolf.eval.chunks import WindowBatch, shares, window_batches, window_bounds
from pgolf.eval.config import ScoreConfig
from pgolf.eval.document_starts import document_borders
from pgolf.eval.forward import Columns, Stream, Tokens, WindowPass, windows_at_a_time
from pgolf.eval.hints import HINTS_FILE, Hints, read_hints
from pgolf.eval.lora import DocumentPass
from pgolf.eval.pieces import Piece
from pgolf.eval.ttt import Learner
from pgolf.eval.ttt_config import TttConfig
from pgolf.eval.windows import WindowPlan, plan_windows
from pgolf.model.checkpoint import build_model
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.untie import untie
from pgolf.pack.load import load_packed
from pgolf.ranks.group import Ranks
from pgolf.run_options import Fact

# Minimum number of batches per chunk (if it has enough windows), so that up to as many ranks or threads find work.
BATCHES_PER_CHUNK = 16

_REPORT_EVERY_S = 0.5

Report = Callable[[int, int, Mapping[str, Fact]], None]  # done and total targets, live metrics


@dataclass(frozen=True, slots=True)
class Text:
    """The validation stream and the windows over it."""

    dataset: Dataset
    tokens: Tokens
    plan: WindowPlan


def open_text(config: ScoreConfig, data: Path) -> Text:
    """Open the stream, cut to whole windows. Raises DataError or a subclass for data shorter than one window."""
    dataset = open_dataset(data)
    tokens = validation_tokens(dataset, window=config.window)
    plan = plan_windows(tokens.size - 1, window=config.window, stride=config.stride, tail=config.tail)
    return Text(dataset, tokens, plan)


def cpu_threads(threads: int, ranks: int = 1) -> int:
    """CPU threads per process: as requested, or an equal share of the available cores."""
    return threads or max(1, len(os.sched_getaffinity(0)) // ranks)


class Scoring:
    """One rank's part of an evaluation. phases_s: wall seconds of load, score and, with test-time training, learn."""

    def __init__(
        self,
        config: ScoreConfig,
        inputs: Mapping[str, Path],
        device: torch.device,
        *,
        text: Text,
        ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
        threads: int = 1,
        report: Report = lambda _done, _total, _facts: None,
    ) -> None:
        """Load the network, and the hints if any. Raises what `pgolf.eval.score_stage.make` raises."""
        started = time.perf_counter()
        self._config, self._text, self._ranks, self._threads = config, text, ranks, threads
        packed = load_packed(inputs["model"] / "model.pgolf")
        _check_vocabulary(text.dataset, packed.config)
        network, state = packed.config, packed.state
        ttt = config.ttt
        if isinstance(ttt, TttConfig) and ttt.untie:
            network, state = untie(network, state)
        self._model = build_model(network, state, device)
        hints = hints_of(inputs, text, network.vocab_size)
        self._stream = Stream.on(device, text.tokens, hints.tokens if hints else None)
        self._learner = self._documents = None
        if isinstance(ttt, TttConfig):
            self._learner = Learner(self._model, text.tokens, ttt, threads=threads, ranks=ranks)
        elif ttt is not None:
            borders = document_borders(text.tokens, text.dataset.bos_id)
            self._documents = DocumentPass(self._model, self._stream, borders, config)
        self._meter = _Meter(text.plan.records, ranks.world_size, report)
        self._loaded_s = time.perf_counter()
        self.phases_s = {"load": self._loaded_s - started}

    @property
    def facts(self) -> dict[str, Fact]:
        """Facts about test-time training."""
        learning = self._learner or self._documents
        return {} if learning is None else {"ttt_steps": learning.steps}

    def pieces(self) -> Iterator[Piece]:
        """Yield this rank's pieces, in order."""
        learner = self._learner
        if learner is not None and not self._config.causal:
            self._meter.expect(sum(learner.targets_of(chunk) for chunk in range(learner.chunks)))
            for chunk in range(learner.chunks):
                learner.learn(chunk)
                self._meter.learned(learner.targets_of(chunk), chunk, learner.chunks)
        for piece in self._scored_pieces():
            self._meter.scored(piece)
            yield piece
        self._meter.finished()
        self.phases_s["score"] = time.perf_counter() - self._loaded_s
        if learner is not None:
            self.phases_s["learn"] = learner.wall_s
            self.phases_s["score"] -= learner.wall_s

    def _scored_pieces(self) -> Iterator[Piece]:
        if self._documents is not None:
            return self._documents.pieces(ranks=self._ranks, threads=self._threads)
        return window_pieces(
            self._model,
            self._stream,
            self._text.plan,
            self._config,
            ranks=self._ranks,
            learner=self._learner,
            threads=self._threads,
        )


def hints_of(inputs: Mapping[str, Path], text: Text, vocab_size: int) -> Hints | None:
    """Read the input `hints`; None without one. Raises DataError if they belong to another evaluation."""
    if "hints" not in inputs:
        return None
    path = inputs["hints"] / HINTS_FILE
    return read_hints(path, records=text.plan.records, vocab_size=vocab_size, stream=stream_digest(text.tokens))


def window_pieces(
    model: GPT,
    stream: Stream,
    plan: WindowPlan,
    config: ScoreConfig,
    *,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    learner: Learner | None = None,
    threads: int = 1,
) -> Iterator[Piece]:
    """Yield the pieces of this rank's batches in evaluation order.

    Batches are cut from the whole plan, and each rank gets a contiguous share of all of them or, if the network learns
    after scoring, of each chunk's. learner: learner of this model; with order score_first it learns each chunk once all
    its windows are scored, and before anything of the next chunk is scored. threads: see `WindowPass.run`.
    """
    forward = WindowPass(model, stream, plan, config)
    size = windows_at_a_time(config, model.config, stream.packed_tokens.device.type)
    bounds = window_bounds(plan, config.chunk_tokens or plan.targets).tolist()
    chunks = [
        list(_batches(config, chunk, range(first, last), size))
        for chunk, (first, last) in enumerate(itertools.pairwise(bounds))
    ]
    if learner is None or not config.causal:
        yield from _scored(
            forward, plan, config, _share([batch for chunk in chunks for batch in chunk], ranks), threads
        )
        return
    for number, batches in enumerate(chunks):
        yield from _scored(forward, plan, config, _share(batches, ranks), threads)
        if number < learner.chunks:
            learner.learn(number)


def _share(batches: Sequence[WindowBatch], ranks: Ranks) -> Sequence[WindowBatch]:
    first, last = shares(len(batches), ranks.world_size)[ranks.rank : ranks.rank + 2]
    return batches[first:last]


def _scored(
    forward: WindowPass, plan: WindowPlan, config: ScoreConfig, batches: Sequence[WindowBatch], threads: int
) -> Iterator[Piece]:
    for batch, columns in zip(batches, forward.run(batches, threads=threads), strict=True):
        first_record = int(plan.first_record[batch.windows.start])
        if config.batch_means is None:
            yield Piece(first_record, columns)
        else:
            yield _piece_of_all_positions(plan, batch, columns, first_record)


def _piece_of_all_positions(plan: WindowPlan, batch: WindowBatch, columns: Columns, first_record: int) -> Piece:
    """A piece with a batch's scored positions, and the means over all its positions."""
    own = slice(batch.windows.start, batch.windows.stop)
    before_B, scored_B = plan.score_from[own] - plan.start[own], plan.end[own] - plan.score_from[own]
    is_scored_P = np.repeat(np.tile([False, True], len(before_B)), np.stack([before_B, scored_B], axis=1).ravel())
    loss_nats, entropy_nats = columns[:2].mean(axis=1, dtype=np.float64)
    mean = BatchMean(
        batch.chunk,
        batch.rank,
        batch.batch,
        first_window=batch.windows.start,
        last_window=batch.windows.stop,
        positions=columns.shape[1],
        loss_nats=float(loss_nats),
        entropy_nats=float(entropy_nats),
    )
    return Piece(first_record, columns[:, is_scored_P], mean)


def _batches(config: ScoreConfig, chunk: int, windows: range, size: int) -> Iterator[WindowBatch]:
    """Split a chunk's windows into forward passes; with batch means, those batches are the passes."""
    if config.batch_means is not None:
        return window_batches(chunk, windows, ranks=config.batch_means.ranks, size=config.batch_means.windows)
    if config.ttt is not None and config.batch_windows is None:
        size = min(size, max(1, len(windows) // BATCHES_PER_CHUNK))
    return window_batches(chunk, windows, ranks=1, size=size)


class _Meter:
    """Progress in targets scored plus, if everything is learned first, targets learned.

    Reports at most twice a second and at the end. One rank reports for all, since their shares are equal.
    """

    def __init__(self, records: int, ranks: int, report: Report) -> None:
        self._records, self._ranks, self._report = records, ranks, report
        self._learned = self._to_learn = self._scored = 0
        self._nats = 0.0
        self._began_s = self._reported_s = time.perf_counter()

    def expect(self, targets: int) -> None:
        """Announce how many targets will be learned before any is scored."""
        self._to_learn = targets

    def learned(self, targets: int, chunk: int, chunks: int) -> None:
        """Count a chunk learned before scoring."""
        self._learned += targets
        self._began_s = time.perf_counter()
        self._report_progress(self._learned, {"learned_chunks": chunk + 1, "chunks": chunks})

    def scored(self, piece: Piece) -> None:
        """Count a piece scored by this rank."""
        self._scored += len(piece)
        self._nats += sum_nats(piece.columns[0])
        done = min(self._records, self._scored * self._ranks)
        speed = done / max(time.perf_counter() - self._began_s, 1e-9)
        self._report_progress(self._learned + done, {"loss_nats": self._nats / self._scored, "targets_per_s": speed})

    def finished(self) -> None:
        """Report completion; the other ranks' shares take about as long."""
        if self._scored * self._ranks < self._records:
            self._report_progress(self._learned + self._records, {})

    def _report_progress(self, done: int, facts: Mapping[str, Fact]) -> None:
        now_s, total = time.perf_counter(), self._to_learn + self._records
        if now_s - self._reported_s >= _REPORT_EVERY_S or done == total:
            self._reported_s = now_s
            self._report(done, total, facts)


def _check_vocabulary(dataset: Dataset, config: ModelConfig) -> None:
    if dataset.vocab_size > config.vocab_size:
        raise DataError(
            f"{dataset.folder}: tokens from a vocabulary of {dataset.vocab_size:,}, the packed network has "
            f"{config.vocab_size:,}; score the data the network was trained on"
        )
