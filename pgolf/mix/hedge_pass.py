"""Score a trace with Hedge mixtures, chunk by chunk: with the counts of the chunks before, then count the chunk.

A chunk's windows are cut into the ranks' shares and these into batches (`pgolf.eval.chunks`); each rank moves its own
log-weights after each of its batches, by mean losses over the batch's scored targets (update_on=scored) or over all
positions its windows read (positions). For the latter the network's means come with the trace, and those of the n-gram
experts from the tokens: prefix sums over what the chunk's windows read, and the first position of every window apart,
since its predecessor counts as token 0.

Shapes: K experts, R ranks, T records of a chunk, P positions its windows read, W windows of a chunk, V vocabulary.
Source: openai/parameter-golf PR #745.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from pgolf.errors import ConfigError, DataError
from pgolf.eval.batch_means import BatchMeans
from pgolf.eval.chunks import window_batches, window_bounds
from pgolf.eval.trace import Trace
from pgolf.eval.ttt_config import BatchMeansConfig
from pgolf.eval.windows import WindowPlan
from pgolf.mix.hedge import (
    EXPERTS,
    BoolArray,
    Float32Array,
    Float64Array,
    initial_log_weights,
    log_shares,
    mixture_loss,
    mixture_mass,
    moved_log_weights,
)
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.hedge_tables import TRIGRAM, HedgeTables


@dataclass(frozen=True, slots=True)
class HedgeTotals:
    """What one mixture made of all records: loss in nats and mass, summed; and how many were mixed, not warm-up.

    shares: name of each expert -> its final weight, the mean over ranks.
    """

    loss_nats: float
    mass: float
    mixed: int
    shares: dict[str, float]


Candidates = Mapping[int, Float64Array]
_NONE: Candidates = MappingProxyType({})


class Hedges:
    """Hedge mixtures on their way over a trace; show it every block of the trace in order, then ask for the totals.

    Memory: the counts and one chunk per group of configs that share chunk_tokens and trigram_rows.
    """

    def __init__(
        self,
        configs: Sequence[HedgeConfig],
        plan: WindowPlan,
        tokens: npt.NDArray[np.uint16],
        *,
        vocab_size: int,
        means: BatchMeans | None = None,
        keep_losses: bool = False,
        candidates: Candidates = _NONE,
    ) -> None:
        """plan: the trace's windows. tokens: the stream, at least N + 1 ids below vocab_size.

        means: the network's means over all positions, needed where a config updates on positions. keep_losses: for
        `losses`, 8 bytes per record and config. candidates: by record, the network's loss of every token there, [V];
        for `told`.
        Raises ConfigError for means that are missing or of other batches, and for tables that are too large.
        """
        self._mixers = [_Mixer(config, plan, vocab_size, means, keep_losses) for config in configs]
        groups: dict[tuple[int, int], list[_Mixer]] = {}
        for mixer in self._mixers:
            groups.setdefault((mixer.config.chunk_tokens, mixer.config.trigram_rows), []).append(mixer)
        # A 0 in front: what stands before the first token.
        padded = np.concatenate([np.zeros(1, np.uint16), tokens[: plan.targets + 1]])
        # The compiled loops check no bounds.
        assert len(padded) == plan.targets + 2
        assert int(padded.max()) < vocab_size
        self._streams = [
            _Stream(
                group, plan, padded, HedgeTables(vocab_size=vocab_size, trigram_rows=rows), chunk_tokens, candidates
            )
            for (chunk_tokens, rows), group in groups.items()
        ]
        self._plan = plan
        self._seen = 0

    def add(self, trace: Trace) -> None:
        """Score the next block; raises DataError for records that are not those of the plan."""
        first, last = self._seen, self._seen + len(trace)
        if last > self._plan.records or not np.array_equal(trace.target, self._plan.targets_of_records(first, last)):
            raise DataError(
                f"records {first:,} to {last:,} of the trace are not those of its {self._plan.windows:,} windows, "
                f"which have {self._plan.records:,}; score again to write a new trace"
            )
        self._seen = last
        for stream in self._streams:
            stream.add(trace)

    def losses(self) -> list[Float64Array]:
        """What each config made of every record so far whose chunk is complete, [R]; of a pass that keeps them."""
        return [np.concatenate([np.empty(0), *mixer.kept]) for mixer in self._mixers]

    def told(self, record: int) -> list[Float64Array]:
        """What each config makes of every token at a record that has candidates, [V], once its chunk is complete."""
        return [mixer.told[record] for mixer in self._mixers]

    def totals(self) -> list[HedgeTotals]:
        """One per config, in their order, after the last block; raises DataError for a trace that ended early."""
        if self._seen != self._plan.records:
            raise DataError(
                f"the trace has {self._seen:,} records, its {self._plan.windows:,} windows {self._plan.records:,}; "
                "score again to write a new trace"
            )
        return [mixer.totals() for mixer in self._mixers]


@dataclass(frozen=True, slots=True)
class _ChunkLosses:
    """A chunk's losses under the counts before it.

    record: of the n-gram experts at the records, [3, T]; empty: the trigram's row was empty there, [T].
    window: of the n-gram experts summed over all positions of each window, [3, W].
    """

    record: Float64Array
    empty: BoolArray
    window: Float64Array


class _Stream:
    """Cuts trace and tokens into chunks, and has each scored by all mixers before it is counted."""

    def __init__(
        self,
        mixers: Sequence["_Mixer"],
        plan: WindowPlan,
        padded: npt.NDArray[np.uint16],
        tables: HedgeTables,
        chunk_tokens: int,
        candidates: Candidates,
    ) -> None:
        self._mixers, self._plan, self._padded, self._tables = mixers, plan, padded, tables
        self._chunk_tokens, self._candidates = chunk_tokens, candidates
        self._window_bounds = window_bounds(plan, chunk_tokens)
        self._chunk = 0
        self._loss_T = np.empty(0, np.float32)
        self._entropy_T = np.empty(0, np.float32)

    def add(self, trace: Trace) -> None:
        """Score every chunk that the block completes; keep the rest."""
        self._loss_T = np.concatenate([self._loss_T, trace.loss_nats])
        self._entropy_T = np.concatenate([self._entropy_T, trace.entropy_nats])
        done = 0
        while self._chunk < len(self._window_bounds) - 1:
            windows = range(*self._window_bounds[self._chunk : self._chunk + 2].tolist())
            last = done + int(self._plan.first_record[windows.stop] - self._plan.first_record[windows.start])
            if last > len(self._loss_T):
                break
            if windows:
                self._score(windows, self._loss_T[done:last], self._entropy_T[done:last])
            first_token = self._chunk * self._chunk_tokens
            # The token at the border is in both chunks: bigrams are complete, one trigram per border is lost.
            last_token = min(first_token + self._chunk_tokens, self._plan.targets)
            self._tables.add(self._padded[first_token + 1 : last_token + 2])
            self._chunk += 1
            done = last
        self._loss_T, self._entropy_T = self._loss_T[done:].copy(), self._entropy_T[done:].copy()

    def _score(self, windows: range, loss_T: Float32Array, entropy_T: Float32Array) -> None:
        first, last = self._plan.first_record[[windows.start, windows.stop]].tolist()
        candidates = {record: loss_V for record, loss_V in self._candidates.items() if first <= record < last}
        losses: dict[tuple[float, float, int], _ChunkLosses] = {}
        for mixer in self._mixers:
            config = mixer.config
            if self._tables.tokens < config.warmup_tokens:
                mixer.take_network(loss_T)
                mixer.told |= candidates
                continue
            smoothing = (config.smoothing, config.trigram_smoothing, config.trigram_least_total)
            if smoothing not in losses:
                losses[smoothing] = self._losses(windows, config)
            of_all = {
                record: np.stack([loss_V, *self._of_all(record, config)]) for record, loss_V in candidates.items()
            }
            mixer.score(self._chunk, windows, loss_T, entropy_T, losses[smoothing], of_all)

    def _losses(self, windows: range, config: HedgeConfig) -> _ChunkLosses:
        own = slice(windows.start, windows.stop)
        start_W, end_W = self._plan.start[own], self._plan.end[own]
        first, last = int(start_W[0]), int(end_W[-1])
        # Entry p + 1 of the padded stream is token x[p].
        x = self._padded
        reach = self._tables.losses(x[first:last], x[first + 1 : last + 1], x[first + 2 : last + 2], config)
        cold = self._tables.losses(np.zeros(len(windows), np.uint16), x[start_W + 1], x[start_W + 2], config)

        position_T = self._plan.record_targets(own.start, own.stop) - 1 - first
        record_3T, empty_T = reach.loss_nats[:, position_T], reach.empty[position_T]
        # A window does not know what stands before it: its first position has token 0 for a predecessor.
        opening_W = np.flatnonzero(self._plan.score_from[own] == start_W)
        at_T = self._plan.first_record[own][opening_W] - self._plan.first_record[windows.start]
        record_3T[:, at_T], empty_T[at_T] = cold.loss_nats[:, opening_W], cold.empty[opening_W]

        before_3P = np.concatenate([np.zeros((3, 1)), np.cumsum(reach.loss_nats, axis=1)], axis=1)
        window_3W = before_3P[:, end_W - first] - before_3P[:, start_W - first]
        window_3W[TRIGRAM] += cold.loss_nats[TRIGRAM] - reach.loss_nats[TRIGRAM, start_W - first]
        return _ChunkLosses(record_3T, empty_T, window_3W)

    def _of_all(self, record: int, config: HedgeConfig) -> Float64Array:
        """Losses of the n-gram experts for every token at a record of the chunk, [3, V]."""
        position = int(self._plan.targets_of_records(record, record + 1)[0]) - 1
        window = int(np.searchsorted(self._plan.first_record, record, side="right")) - 1
        token_V = np.arange(self._tables.vocab_size, dtype=np.uint16)
        before = 0 if position == self._plan.start[window] else self._padded[position]
        last_V = np.full_like(token_V, self._padded[position + 1])
        return self._tables.losses(np.full_like(token_V, before), last_V, token_V, config).loss_nats


class _Mixer:
    """The weights of one config on every rank, and its sums so far."""

    def __init__(
        self, config: HedgeConfig, plan: WindowPlan, vocab_size: int, means: BatchMeans | None, keep_losses: bool
    ) -> None:
        self.config = config
        self.kept: list[Float64Array] = []
        self.told: dict[int, Float64Array] = {}
        self._keep_losses = keep_losses
        self._plan, self._vocab_size = plan, vocab_size
        self._means = _checked(means, plan, config.batch_means) if config.batch_means else None
        self._log_weight_RK = np.tile(initial_log_weights(config), (config.ranks, 1))
        self._loss_nats = self._mass = 0.0
        self._mixed = 0

    def take_network(self, loss_T: Float32Array) -> None:
        """Warm-up: a chunk's records by the network alone, with the weights as they were."""
        self._loss_nats += float(loss_T.sum(dtype=np.float64))
        self._mass += len(loss_T)
        if self._keep_losses:
            self.kept.append(loss_T.astype(np.float64))

    def score(
        self,
        chunk: int,
        windows: range,
        loss_T: Float32Array,
        entropy_T: Float32Array,
        losses: _ChunkLosses,
        of_all: Candidates,
    ) -> None:
        """Score the records of one chunk, batch by batch.

        of_all: by record, what network and n-gram experts make of every token there, [4, V].
        """
        experts = [loss_T, *losses.record] + ([entropy_T] if self.config.experts == "published" else [])
        loss_KT = np.array(experts, np.float64)
        self._mixed += len(loss_T)
        first_record_W = self._plan.first_record[windows.start : windows.stop + 1]
        for batch in window_batches(chunk, windows, ranks=self.config.ranks, size=self.config.batch_windows):
            own = slice(batch.windows.start - windows.start, batch.windows.stop - windows.start)
            part = slice(*(first_record_W[[own.start, own.stop]] - first_record_W[0]))
            log_share_K = log_shares(self._log_weight_RK[batch.rank])
            mass_T = mixture_mass(log_share_K, losses.empty[part], entropy_T[part], self.config, self._vocab_size)
            mixed_T = mixture_loss(log_share_K, loss_KT[:, part])
            self._loss_nats += float(mixed_T.sum())
            if self._keep_losses:
                self.kept.append(mixed_T)
            self._mass += float(mass_T.sum())
            for record, loss_KV in of_all.items():
                if part.start <= (place := record - int(first_record_W[0])) < part.stop:
                    entropy_V = np.full((len(loss_KT) - len(loss_KV), loss_KV.shape[1]), entropy_T[place], np.float64)
                    self.told[record] = mixture_loss(log_share_K, np.concatenate([loss_KV, entropy_V]))
            if self._means is None:
                mean_K = loss_KT[:, part].mean(axis=1)
            else:
                row = int(np.searchsorted(self._means.first_window, batch.windows.start))
                ngrams_3 = losses.window[:, own].sum(axis=1) / self._means.positions[row]
                mean_K = np.array([self._means.loss_nats[row], *ngrams_3, self._means.entropy_nats[row]])
            self._log_weight_RK[batch.rank] = moved_log_weights(
                self._log_weight_RK[batch.rank], mean_K[: len(loss_KT)], self.config.eta
            )

    def totals(self) -> HedgeTotals:
        """Sums over all records, and the weights as they are now."""
        share_K = np.mean([np.exp(log_shares(row_K)) for row_K in self._log_weight_RK], axis=0)
        shares = dict(zip(EXPERTS[self.config.experts], share_K.tolist(), strict=True))
        return HedgeTotals(self._loss_nats, self._mass, self._mixed, shares)


def _checked(means: BatchMeans | None, plan: WindowPlan, needed: BatchMeansConfig) -> BatchMeans:
    """The means, if they are of just the batches that the plan's windows make."""
    setting = needed.model_dump_json()
    if means is None:
        raise ConfigError(
            "update_on=positions moves the weights by means over all positions, which the trace comes without; "
            f"add --set 'score.batch_means={setting}', or give the hedge update_on=scored"
        )
    read = np.concatenate([np.zeros(1, np.int64), np.cumsum(plan.end - plan.start)])
    expected = [
        (chunk, batch.rank, own.start, own.stop, int(read[own.stop] - read[own.start]))
        for chunk, (first, last) in enumerate(pairwise(window_bounds(plan, needed.chunk_tokens).tolist()))
        for batch in window_batches(chunk, range(first, last), ranks=needed.ranks, size=needed.windows)
        for own in [batch.windows]
    ]
    columns = (means.chunk, means.rank, means.first_window, means.last_window, means.positions)
    found = list(zip(*(column.tolist() for column in columns)))
    if found != expected:
        row = next((n for n, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]), None)
        where = "" if row is None else f"; batch {row:,} has {_named(found[row])} instead of {_named(expected[row])}"
        raise ConfigError(
            f"the trace has {len(found):,} batch means where chunks of {needed.chunk_tokens:,} tokens, {needed.ranks} "
            f"ranks and {needed.windows} windows make {len(expected):,}{where}; "
            f"add --set 'score.batch_means={setting}', or give the hedge the chunk_tokens, ranks and batch_windows of "
            "what was scored"
        )
    return means


def _named(batch: tuple[int, int, int, int, int]) -> str:
    chunk, rank, first, last, positions = batch
    return f"{positions:,} positions of windows {first:,} to {last - 1:,} (chunk {chunk}, rank {rank})"
