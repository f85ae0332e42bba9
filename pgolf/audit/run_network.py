"""The packed network of a run over any text, through the code of the score stage: whole, or as far as is asked for.

Shapes: N targets, R records of them, V vocabulary, K orders of the hints.
"""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pgolf.audit.scorer import Tokens
from pgolf.eval.batch_means import BatchMeans, as_columns
from pgolf.eval.config import ScoreConfig
from pgolf.eval.document_starts import document_borders
from pgolf.eval.forward import Stream
from pgolf.eval.lora import DocumentPass
from pgolf.eval.pieces import Piece
from pgolf.eval.scoring import cpu_threads, window_pieces
from pgolf.eval.ttt import Learner
from pgolf.eval.ttt_config import LoraConfig, TttConfig
from pgolf.eval.windows import WindowPlan
from pgolf.model.checkpoint import build_model
from pgolf.model.untie import untie
from pgolf.pack.load import load_packed
from pgolf.ranks.group import Ranks

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]


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


class RunNetwork:
    """The network of a packed model's file, evaluated as a score stage is configured; in float32 on the CPU."""

    def __init__(self, model: Path, score: ScoreConfig, *, vocab_size: int, bos_id: int, threads: int = 0) -> None:
        """Raises what loading the model raises."""
        packed = load_packed(model)
        network, state = packed.config, packed.state
        if isinstance(score.ttt, TttConfig) and score.ttt.untie:
            network, state = untie(network, state)
        self._model = build_model(network, state, torch.device("cpu"))
        self._score, self._vocab_size, self._bos_id = score, vocab_size, bos_id
        self._threads = cpu_threads(threads)

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

        records: those that are wanted, None: all; columns of others may be 0. told: records of which every token is.
        """
        wanted = range(plan.records) if records is None else records
        K = 0 if hint_KR is None else len(hint_KR)
        columns, told_V = np.zeros((2 + K, plan.records), np.float32), dict[int, Float32Array]()
        means = []
        for piece in self._pieces(tokens, plan, self._stream(tokens, plan, hint_KR, every=bool(told)), wanted):
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

    def _pieces(self, tokens: Tokens, plan: WindowPlan, stream: Stream, records: range) -> Iterator[Piece]:
        """In the order of the records; at least those that are wanted."""
        ttt, score = self._score.ttt, self._score
        model = copy.deepcopy(self._model) if ttt is not None else self._model
        if isinstance(ttt, LoraConfig):
            # Documents share nothing, and what a chunk is scored with stands before it. A record is a position here.
            borders = document_borders(tokens, self._bos_id)
            first = int(np.searchsorted(borders, records.start, side="right")) - 1
            last = int(np.searchsorted(borders, records.stop))
            borders = borders[first : last + 1].copy()
            chunks = -(-(records.stop - borders[-2]) // ttt.chunk_targets)
            borders[-1] = min(borders[-1], borders[-2] + chunks * ttt.chunk_targets)
            return DocumentPass(model, stream, borders, score).pieces(ranks=Ranks(), threads=self._threads)
        if ttt is None and score.batch_means is None:
            return self._of_windows(plan, stream, records)
        learner = Learner(model, tokens, ttt, threads=self._threads) if ttt is not None else None
        if learner is not None and not score.causal:
            for chunk in range(learner.chunks):
                learner.learn(chunk)
        return window_pieces(model, stream, plan, score, learner=learner, threads=self._threads)

    def _of_windows(self, plan: WindowPlan, stream: Stream, records: range) -> Iterator[Piece]:
        """Of the windows that score these records; a window depends on no other."""
        first = int(np.searchsorted(plan.first_record, records.start, side="right")) - 1
        last = int(np.searchsorted(plan.first_record, records.stop))
        own, before = slice(first, last), int(plan.first_record[first])
        part = replace(
            plan,
            start=plan.start[own],
            end=plan.end[own],
            score_from=plan.score_from[own],
            first_record=plan.first_record[first : last + 1] - before,
            rank_bounds=np.array([0, last - first]),
        )
        if stream.hints.shape[1]:
            stream = replace(stream, hints=stream.hints[before:])
        for piece in window_pieces(self._model, stream, part, self._score, threads=self._threads):
            yield replace(piece, first_record=piece.first_record + before)
