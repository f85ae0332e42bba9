"""The packed network of a run over any text, through the code of the score stage: whole, or as far as is asked for.

Shapes: N targets, R records of them, V vocabulary, K orders of the hints.
"""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from pgolf.audit.kept import Kept
from pgolf.audit.scorer import Tokens
from pgolf.eval.batch_means import BatchMean, BatchMeans, as_columns
from pgolf.eval.chunks import WindowBatch, window_batches, window_bounds
from pgolf.eval.config import ScoreConfig
from pgolf.eval.document_starts import document_borders
from pgolf.eval.forward import Stream
from pgolf.eval.lora import DocumentPass
from pgolf.eval.pieces import Piece
from pgolf.eval.scoring import cpu_threads, window_pieces
from pgolf.eval.ttt import Learner
from pgolf.eval.ttt_config import LoraConfig, TttConfig
from pgolf.eval.windows import WindowPlan
from pgolf.model.checkpoint import Checkpoint, build_model
from pgolf.model.gpt import GPT
from pgolf.model.untie import untie
from pgolf.ranks.group import Ranks

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

# Networks on their way through a text that are kept, for the sessions that go on from there.
_KEPT_BYTES = 256 << 20
# Copies of a network's weights that learning keeps at most: they, their gradient, and two moments.
_COPIES = 4
_NO_RECORDS = np.empty((1, 0), np.float32)


@dataclass(frozen=True, slots=True)
class NetworkColumns:
    """What the network says of the records: loss, entropy and ln q of the hints, [2 + K, R].

    told: by record, -ln q of every token there, [V], where that was asked for. means: of its batches, where the score
    stage keeps them.
    """

    columns: Float32Array
    told: Mapping[int, Float32Array] = field(default_factory=dict)
    means: BatchMeans | None = None

    @property
    def loss_nats(self) -> Float32Array:
        """Of every record, [R]."""
        loss_R: Float32Array = self.columns[0]
        return loss_R

    @property
    def entropy_nats(self) -> Float32Array:
        """Of every record, [R]."""
        entropy_R: Float32Array = self.columns[1]
        return entropy_R

    @property
    def hint_logp(self) -> Float32Array:
        """Of the hints, [K, R]."""
        return self.columns[2:]


@dataclass(frozen=True, slots=True)
class _Learned:
    """A network that has learned the first chunks of a text, and its batches' means in them. None of it changes.

    tokens: the array that the learner reads, [N + 1].
    """

    chunks: int
    model: GPT
    learner: Learner | None
    tokens: Tokens
    means: tuple[BatchMean, ...] = ()

    def further(self, tokens: Tokens, means: Collection[BatchMean]) -> "_Learned":
        """After the next chunk, of a text that begins alike."""
        model, learner, own = copy.deepcopy((self.model, self.learner, self.tokens))
        own[:] = tokens
        if learner is not None and self.chunks < learner.chunks:
            learner.learn(self.chunks)
        return _Learned(self.chunks + 1, model, learner, own, (*self.means, *means))

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        return _COPIES * sum(parameter.nbytes for parameter in self.model.parameters())


class RunNetwork:
    """A packed network, evaluated as a score stage is configured; in float32 on the CPU."""

    def __init__(
        self, packed: Checkpoint, score: ScoreConfig, *, vocab_size: int, bos_id: int, threads: int = 0
    ) -> None:
        network, state = packed.config, packed.state
        if isinstance(score.ttt, TttConfig) and score.ttt.untie:
            network, state = untie(network, state)
        self._model = build_model(network, state, torch.device("cpu"))
        self._score, self._vocab_size, self._bos_id = score, vocab_size, bos_id
        self._threads = cpu_threads(threads)
        self._learned = Kept[_Learned](_KEPT_BYTES, lambda learned: learned.nbytes)

    def over(
        self,
        tokens: Tokens,
        plan: WindowPlan,
        hint_KR: Int32Array | None = None,
        *,
        records: range | None = None,
        told: Collection[int] = (),
    ) -> NetworkColumns:
        """A pass over a text, learning on its way where the run does.

        records: those that are wanted of a text of which no more is known, None: all. Columns of others may be 0, and
        what was learned from a text that begins alike is learned once. told: records of which every token is.
        """
        wanted = range(plan.records) if records is None else records
        K = 0 if hint_KR is None else len(hint_KR)
        columns, told_V = np.zeros((2 + K, plan.records), np.float32), dict[int, Float32Array]()
        means = []
        stream = self._stream(tokens, plan, hint_KR, every=bool(told))
        for piece in self._pieces(tokens, plan, stream, wanted, whole=records is None):
            first, last = piece.first_record, piece.first_record + len(piece)
            columns[:, first:last] = piece.columns[: 2 + K]
            told_V |= {record: -piece.columns[2 + K :, record - first] for record in told if first <= record < last}
            means += [piece.mean] if piece.mean is not None else []
            if last >= wanted.stop and self._score.batch_means is None:
                break
        return NetworkColumns(columns, told_V, as_columns(means) if self._score.batch_means is not None else None)

    def _stream(self, tokens: Tokens, plan: WindowPlan, hint_KR: Int32Array | None, *, every: bool) -> Stream:
        stream = Stream.on(
            torch.device("cpu"), tokens, None if hint_KR is None else np.ascontiguousarray(hint_KR.T, np.int32)
        )
        if not every:
            return stream
        every_RV = torch.arange(self._vocab_size, dtype=torch.int32).expand(plan.records, -1)
        hints = every_RV if hint_KR is None else torch.cat([stream.hints, every_RV], dim=1)
        return replace(stream, hints=hints)

    def _pieces(
        self, tokens: Tokens, plan: WindowPlan, stream: Stream, records: range, *, whole: bool
    ) -> Iterator[Piece]:
        """In the order of the records; at least those that are wanted."""
        ttt, score = self._score.ttt, self._score
        if isinstance(ttt, LoraConfig):
            # Documents share nothing, and what a chunk is scored with stands before it. A record is a position here.
            borders = document_borders(tokens, self._bos_id)
            first = int(np.searchsorted(borders, records.start, side="right")) - 1
            last = int(np.searchsorted(borders, records.stop))
            borders = borders[first : last + 1].copy()
            chunks = -(-(records.stop - borders[-2]) // ttt.chunk_targets)
            borders[-1] = min(borders[-1], borders[-2] + chunks * ttt.chunk_targets)
            # The pass freezes the weights of its network.
            passing = DocumentPass(copy.deepcopy(self._model), stream, borders, score)
            return passing.pieces(ranks=Ranks(), threads=self._threads)
        if ttt is None and score.batch_means is None:
            return self._of_windows(self._model, plan, stream, _scoring(plan, records))
        if score.causal and not whole:
            return self._by_chunks(tokens, plan, stream, records)
        model = copy.deepcopy(self._model) if ttt is not None else self._model
        learner = Learner(model, tokens, ttt, threads=self._threads) if ttt is not None else None
        if learner is not None and not score.causal:
            for chunk in range(learner.chunks):
                learner.learn(chunk)
        return window_pieces(model, stream, plan, score, learner=learner, threads=self._threads)

    def _by_chunks(self, tokens: Tokens, plan: WindowPlan, stream: Stream, records: range) -> Iterator[Piece]:
        """As far as is wanted, from where a text that begins alike had been learned to.

        The mean of a batch that has not come yet is 0: no weight was moved by it.
        """
        bounds = window_bounds(plan, self._chunk_tokens(plan)).tolist()
        end_K = plan.first_record[bounds[1:]]
        learned = self._learned_before(tokens, plan, int(np.searchsorted(end_K, records.start, side="right")))
        for mean in learned.means:
            yield Piece(0, _NO_RECORDS, mean)
        wanted, means = _scoring(plan, records), self._score.batch_means
        for chunk in range(learned.chunks, len(end_K)):
            windows, own = range(bounds[chunk], bounds[chunk + 1]), list[BatchMean]()
            if plan.first_record[windows.start] >= records.stop:
                if means is None:
                    return
                for batch in window_batches(chunk, windows, ranks=means.ranks, size=means.windows):
                    yield Piece(0, _NO_RECORDS, _blank(plan, batch))
                continue
            if means is None:
                windows = range(max(windows.start, wanted.start), min(windows.stop, wanted.stop))
            for piece in self._of_windows(learned.model, plan, stream, windows) if windows else ():
                own += [piece.mean] if piece.mean is not None else []
                yield piece
            if records.stop > end_K[chunk]:
                key, before = self._key(tokens, plan, chunk + 1), learned
                learned = self._learned.of(key, partial(before.further, tokens, own))

    def _learned_before(self, tokens: Tokens, plan: WindowPlan, chunks: int) -> _Learned:
        """What has learned so many chunks of the text, or fewer where no more of them is kept."""
        for learned in range(chunks, 0, -1):
            if (kept := self._learned.get(self._key(tokens, plan, learned))) is not None:
                return kept
        own, ttt = tokens.copy(), self._score.ttt
        if not isinstance(ttt, TttConfig):
            return _Learned(0, self._model, None, own)
        model = copy.deepcopy(self._model)
        return _Learned(0, model, Learner(model, own, ttt, threads=self._threads), own)

    def _chunk_tokens(self, plan: WindowPlan) -> int:
        return self._score.chunk_tokens or plan.targets

    def _key(self, tokens: Tokens, plan: WindowPlan, chunks: int) -> tuple[int, int, bytes]:
        """The same for texts of one length that begin with the same chunks."""
        return len(tokens), chunks, tokens[: chunks * self._chunk_tokens(plan) + 1].tobytes()

    def _of_windows(self, model: GPT, plan: WindowPlan, stream: Stream, windows: range) -> Iterator[Piece]:
        """Of these windows, which depend on no other; of whole chunks where means of their batches are wanted."""
        own, before = slice(windows.start, windows.stop), int(plan.first_record[windows.start])
        part = replace(
            plan,
            start=plan.start[own],
            end=plan.end[own],
            score_from=plan.score_from[own],
            first_record=plan.first_record[windows.start : windows.stop + 1] - before,
            rank_bounds=np.array([0, len(windows)]),
        )
        if stream.hints.shape[1]:
            stream = replace(stream, hints=stream.hints[before:])
        for piece in window_pieces(model, stream, part, self._score, threads=self._threads):
            mean = piece.mean and replace(
                piece.mean,
                first_window=piece.mean.first_window + windows.start,
                last_window=piece.mean.last_window + windows.start,
            )
            yield replace(piece, first_record=piece.first_record + before, mean=mean)


def _scoring(plan: WindowPlan, records: range) -> range:
    """The windows that score these records."""
    first = int(np.searchsorted(plan.first_record, records.start, side="right")) - 1
    return range(first, int(np.searchsorted(plan.first_record, records.stop)))


def _blank(plan: WindowPlan, batch: WindowBatch) -> BatchMean:
    own = slice(batch.windows.start, batch.windows.stop)
    return BatchMean(
        batch.chunk,
        batch.rank,
        batch.batch,
        first_window=own.start,
        last_window=own.stop,
        positions=int((plan.end[own] - plan.start[own]).sum()),
        loss_nats=0.0,
        entropy_nats=0.0,
    )
