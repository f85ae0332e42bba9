"""The scorers of a run as the audit asks them: the run's packed network, counts, hints and mixtures over any text.

A text goes through the code of the stages themselves: windows and test-time training as `score` does it, counts as
`count` and `hint` do, probabilities as `mix` does. One pass of the network serves every scorer of the run.

A target that a run scores more than once (score.tail=repeat) has its first loss here.

Shapes: N targets, R records of them, V vocabulary, C scorers, K orders of the hints.
"""

import copy
import json
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pgolf.audit.scorer import Losses, Session, Tokens
from pgolf.counts.config import CountConfig
from pgolf.counts.count_stage import iterate_counts
from pgolf.counts.exact import exact_runs
from pgolf.counts.hint_config import HintConfig
from pgolf.counts.runs import plan_of
from pgolf.errors import ConfigError
from pgolf.eval.batch_means import BatchMeans, as_columns
from pgolf.eval.config import ScoreConfig
from pgolf.eval.document_starts import document_borders
from pgolf.eval.forward import Stream
from pgolf.eval.lora import DocumentPass
from pgolf.eval.pieces import Piece
from pgolf.eval.scoring import cpu_threads, window_pieces
from pgolf.eval.trace import Trace
from pgolf.eval.ttt import Learner
from pgolf.eval.ttt_config import TttConfig
from pgolf.eval.windows import WindowPlan, plan_windows
from pgolf.mix.bayes import Sharing, padded
from pgolf.mix.cells import cells_of, members_of
from pgolf.mix.config import MixConfig
from pgolf.mix.grid import MIXTURES
from pgolf.mix.hedge_pass import Hedges
from pgolf.mix.log_sums import LEAST_PROBABILITY
from pgolf.mix.mix_rows import Row, bayes_name, hedge_name, settings_of
from pgolf.mix.mix_unit import Hints, Unit
from pgolf.mix.mixture import FLOOR, Mixture, exact_losses, probabilities
from pgolf.mix.product import Cell
from pgolf.model.checkpoint import build_model
from pgolf.model.untie import untie
from pgolf.pack.load import load_packed
from pgolf.ranks.group import Ranks

Float64Array = npt.NDArray[np.float64]

# Answers about whole texts that are kept, per run.
_TEXTS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class _Network:
    """What the network says of every record: loss and entropy, [R]; ln q of the hints, [K, R]; of every token, [R, V]
    where that was asked for. means: of its batches, where the score stage keeps them."""

    loss_nats: npt.NDArray[np.float32]
    entropy_nats: npt.NDArray[np.float32]
    hint_logp: npt.NDArray[np.float32]
    logp: npt.NDArray[np.float32] | None = None
    means: BatchMeans | None = None


@dataclass(frozen=True, slots=True)
class _Hinted:
    """The hints of every record by order, [K, R]: token (-1: none), its context's count, and its own."""

    token: npt.NDArray[np.int32]
    context: npt.NDArray[np.uint32]
    count: npt.NDArray[np.uint32]


class RunScorers:
    """Scorers of a mix: the network, the grid's cells, Bayes and fixed-share mixtures, Hedge mixtures, in this order.

    names: of each, its settings as the mix's rows have them in `cell`. Not for several threads at once.
    """

    def __init__(
        self,
        model: Path,
        *,
        vocab_size: int,
        bos_id: int,
        score: ScoreConfig,
        mix: MixConfig,
        counts: Mapping[str, CountConfig],
        hint: HintConfig | None = None,
        only: Collection[str] | None = None,
        threads: int = 0,
    ) -> None:
        """model: a packed model's file. only: names of the scorers that are wanted; None: all of them.

        Raises what loading the model raises, and ConfigError for a mix that does not fit and for a name of none.
        """
        packed = load_packed(model)
        network, state = packed.config, packed.state
        if isinstance(score.ttt, TttConfig) and score.ttt.untie:
            network, state = untie(network, state)
        self._model = build_model(network, state, torch.device("cpu"))
        self.vocab_size, self._bos_id, self._score = vocab_size, bos_id, score
        self._counts = {name: config.of(config.estimator) for name, config in counts.items()}
        self._hint, self._threads = hint, cpu_threads(threads)
        hinted = hint.orders if hint is not None else None
        cells = cells_of(mix, counts, hinted)
        normalized = [cell for cell in cells if cell.normalized]
        members = [normalized if own.members is None else members_of(own.members, counts, hinted) for own in mix.bayes]
        grid = {self._name(cell): cell for cell in cells}
        bayes = {bayes_name(own, [*map(self._settings, of)]): (own, of) for own, of in zip(mix.bayes, members)}
        hedges = {hedge_name(own): own for own in mix.hedges}
        if only is not None and (missing := set(only) - {*grid, *bayes, *hedges}):
            raise ConfigError(f"the mix has no scorer {min(missing)}")
        self._cells = [cell for name, cell in grid.items() if only is None or name in only]
        self._bayes = [one for name, one in bayes.items() if only is None or name in only]
        self._hedges = [own for name, own in hedges.items() if only is None or name in only]
        self.names = tuple(name for name in (*grid, *bayes, *hedges) if only is None or name in only)
        self._grid = _groups(self._cells, self._counts, hinted or ())
        self._of_members = [_groups(of, self._counts, hinted or ()) for _, of in self._bayes]
        self._floor_C = np.array([0.0 if cell.normalized else FLOOR for cell in self._cells])
        used = {cell.counts for cell in (*self._cells, *(cell for _, of in self._bayes for cell in of))}
        self._counts = {name: config for name, config in self._counts.items() if name in used}
        self._answers: OrderedDict[tuple[bytes, int], Float64Array] = OrderedDict()
        self._told: OrderedDict[tuple[bytes, int], Float64Array] = OrderedDict()

    @property
    def size(self) -> int:
        """Number of scorers, C."""
        return len(self.names)

    def losses(self, tokens: Tokens, evaluation: int = 0) -> Float64Array:
        """What every scorer says of a text, in nats, [N, C]. evaluation: another number evaluates it anew."""
        key = (tokens.tobytes(), evaluation)
        if key not in self._answers:
            self._answers[key] = self._losses(tokens)
            if len(self._answers) > _TEXTS_KEPT:
                self._answers.popitem(last=False)
        return self._answers[key]

    def told(self, tokens: Tokens, target: int) -> Float64Array:
        """What every token would cost as that target, 1..N, [V, C]; what stands there and behind is not looked at."""
        # Other tokens there and behind, always the same ones: they may not matter.
        known = np.where(np.arange(len(tokens)) < target, tokens, _filler(self._bos_id)).astype(np.uint16)
        key = (known.tobytes(), target)
        if key not in self._told:
            self._told[key] = self._told_of(known, target)
            if len(self._told) > _TEXTS_KEPT:
                self._told.popitem(last=False)
        return self._told[key]

    def scorers(self) -> "list[RunScorer]":
        """One scorer per column of `losses`."""
        return [RunScorer(self, column) for column in range(self.size)]

    def of_records(self, tokens: Tokens) -> Float64Array:
        """What every scorer says of every record of a text, in nats, in the order of scoring, [R, C]."""
        plan = self._plan(len(tokens) - 1)
        hinted = self._hinted(tokens, plan)
        network = self._network(tokens, plan, hinted)
        unit = self._unit(tokens, plan, network, hinted)
        hedged = self._hedge_losses(tokens, plan, network)
        return np.column_stack([self._cell_losses(unit), *self._mixed_losses(unit), *hedged])

    def _losses(self, tokens: Tokens) -> Float64Array:
        plan = self._plan(len(tokens) - 1)
        loss_NC = np.empty((plan.targets, self.size))
        # The first record of a target: later ones are written first, and so over.
        loss_NC[plan.record_targets()[::-1] - 1] = self.of_records(tokens)[::-1]
        return loss_NC

    def _told_of(self, tokens: Tokens, target: int) -> Float64Array:
        plan, V = self._plan(len(tokens) - 1), self.vocab_size
        record = int(np.flatnonzero(plan.record_targets() == target)[0])
        hinted = self._hinted(tokens, plan)
        network = self._network(tokens, plan, hinted, of_all=True)
        assert network.logp is not None
        token_V = np.arange(V)
        columns: dict[str, list[npt.NDArray[np.uint32]]] = {}
        for name, config in self._counts.items():
            of_V = np.stack([self._counted(config, _with(tokens, target, v), record) for v in range(V)], axis=1)
            columns[name] = list(of_V)
        hints = None
        if hinted is not None:
            context, count = ([np.repeat(row, V) for row in rows[:, record]] for rows in (hinted.context, hinted.count))
            logp = [np.repeat(row, V) for row in network.hint_logp[:, record]]
            hints = Hints(context, count, [token_V == token for token in hinted.token[:, record]], logp)
        loss_V = -network.logp[record]
        unit = Unit(loss_V, np.repeat(network.entropy_nats[record], V), columns, hints)
        before = self._unit(tokens, plan, network, hinted).part(slice(0, record)) if self._bayes else None
        mixed = self._mixed_losses(unit, before, together=True)
        hedged = np.empty((len(self._hedges), V))
        for v in range(V) if self._hedges else ():
            loss_nats = network.loss_nats.copy()
            loss_nats[record] = loss_V[v]
            of_v = self._hedge_losses(_with(tokens, target, v), plan, replace(network, loss_nats=loss_nats))
            hedged[:, v] = [loss_R[record] for loss_R in of_v]
        return np.column_stack([self._cell_losses(unit), *mixed, *hedged])

    def _plan(self, targets: int) -> WindowPlan:
        config = self._score
        return plan_windows(targets, window=config.window, stride=config.stride, tail=config.tail)

    def _network(self, tokens: Tokens, plan: WindowPlan, hinted: _Hinted | None, *, of_all: bool = False) -> _Network:
        """A pass of the network over a text, learning on its way where the run does."""
        hint_RK = None if hinted is None else np.ascontiguousarray(hinted.token.T)
        K = 0 if hinted is None else len(hinted.token)
        if of_all:
            every_RV = np.tile(np.arange(self.vocab_size, dtype=np.int32), (plan.records, 1))
            hint_RK = every_RV if hint_RK is None else np.concatenate([hint_RK, every_RV], axis=1)
        columns = np.empty((2 + (0 if hint_RK is None else hint_RK.shape[1]), plan.records), np.float32)
        pieces = self._pieces(tokens, plan, Stream.on(torch.device("cpu"), tokens, hint_RK))
        for piece in pieces:
            columns[:, piece.first_record : piece.first_record + len(piece)] = piece.columns
        kept = [piece.mean for piece in pieces if piece.mean is not None]
        means = as_columns(kept) if self._score.batch_means is not None else None
        return _Network(columns[0], columns[1], columns[2 : 2 + K], columns[2 + K :].T if of_all else None, means)

    def _pieces(self, tokens: Tokens, plan: WindowPlan, stream: Stream) -> "list[Piece]":
        ttt, score = self._score.ttt, self._score
        model = copy.deepcopy(self._model) if ttt is not None else self._model
        if ttt is not None and not isinstance(ttt, TttConfig):
            borders = document_borders(tokens, self._bos_id)
            return list(DocumentPass(model, stream, borders, score).pieces(ranks=Ranks(), threads=self._threads))
        learner = Learner(model, tokens, ttt, threads=self._threads) if isinstance(ttt, TttConfig) else None
        if learner is not None and not score.causal:
            for chunk in range(learner.chunks):
                learner.learn(chunk)
        return list(window_pieces(model, stream, plan, score, learner=learner, threads=self._threads))

    def _hinted(self, tokens: Tokens, plan: WindowPlan) -> _Hinted | None:
        if self._hint is None:
            return None
        own = plan_of(self._hint, plan.targets)
        runs = exact_runs(self._hint, own, tokens, bos_id=self._bos_id, hints=True, threads=1)
        seen = [seen for run, seen in runs if run.look_up]
        return _Hinted(*(np.concatenate([getattr(one, name) for one in seen], axis=1) for name in _HINT_COLUMNS))

    def _counted(self, config: CountConfig, tokens: Tokens, record: int | None = None) -> npt.NDArray[np.uint32]:
        """Context counts by order, then full counts by order: of all records, [2·O, R], or of one, [2·O]."""
        plan = plan_of(config, len(tokens) - 1)
        parts = iterate_counts(config, plan, tokens, vocab_size=self.vocab_size, bos_id=self._bos_id)
        found = np.concatenate([np.concatenate([part.context, part.full]) for part in parts], axis=1)
        return found if record is None else found[:, record]

    def _unit(self, tokens: Tokens, plan: WindowPlan, network: _Network, hinted: _Hinted | None) -> Unit:
        columns = {name: list(self._counted(config, tokens)) for name, config in self._counts.items()}
        hints = None
        if hinted is not None:
            target_R = tokens[plan.record_targets()]
            is_target = [row == target_R for row in hinted.token]
            hints = Hints(list(hinted.context), list(hinted.count), is_target, list(network.hint_logp))
        return Unit(network.loss_nats, network.entropy_nats, columns, hints)

    def _cell_losses(self, unit: Unit) -> Float64Array:
        """Losses of the grid's cells, [R, C]."""
        p_RC = np.maximum(probabilities(self._grid, unit, len(self._cells)), self._floor_C)
        loss_RC: Float64Array = -np.log(np.maximum(p_RC, LEAST_PROBABILITY))
        network = [number for number, cell in enumerate(self._cells) if cell.mixer is None]
        loss_RC[:, network] = unit.loss_nats.astype(np.float64)[:, None]
        if (hard_R := np.flatnonzero((p_RC < LEAST_PROBABILITY).any(axis=1))).size:
            exact_HC = exact_losses(self._grid, unit.part(hard_R), len(self._cells))
            loss_RC[hard_R] = np.where(p_RC[hard_R] < LEAST_PROBABILITY, exact_HC, loss_RC[hard_R])
        return loss_RC

    def _mixed_losses(self, unit: Unit, before: Unit | None = None, *, together: bool = False) -> list[Losses]:
        """Losses of the Bayes and fixed-share mixtures, [R] each.

        before: records that the weights have moved over already. together: the unit's records are one target's
        candidates, and each sees the weights as they are before it.
        """
        found = []
        for (config, members), groups in zip(self._bayes, self._of_members):
            sharing = Sharing(len(members), share_rate=config.share_rate, chunk_targets=config.chunk_targets)
            columns = padded(len(members))
            if before is not None and len(before):
                sharing.add(probabilities(groups, before, columns))
            p_RP = probabilities(groups, unit, columns)
            state = {name: values.copy() for name, values in sharing.state().items()}
            loss_R = np.empty(len(unit))
            for row in range(len(unit)):
                if together:
                    sharing.restore(state)
                sharing.loss_nats = 0.0
                sharing.add(p_RP[row : row + 1])
                loss_R[row] = sharing.loss_nats
            found.append(loss_R)
        return found

    def _hedge_losses(self, tokens: Tokens, plan: WindowPlan, network: _Network) -> list[Losses]:
        """Losses of the Hedge mixtures, [R] each."""
        if not self._hedges:
            return []
        hedges = Hedges(self._hedges, plan, tokens, vocab_size=self.vocab_size, means=network.means, keep_losses=True)
        hedges.add(Trace(plan.record_targets(), network.loss_nats, network.entropy_nats))
        return hedges.losses()

    def _settings(self, cell: Cell) -> Row:
        return settings_of(cell, self._counts, self._hint)

    def _name(self, cell: Cell) -> str:
        return json.dumps(self._settings(cell))


_HINT_COLUMNS = ("hint", "context", "count")


@dataclass
class RunScorer:
    """One column of `RunScorers` as a scorer that also takes pieces and tells distributions.

    Whoever asks it about a text again gets a new evaluation; the scorers of one run share each of them.
    """

    run: RunScorers
    column: int
    asked: Counter[bytes] = field(default_factory=Counter)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, V."""
        return self.run.vocab_size

    def score(self, tokens: Tokens) -> Losses:
        """As `pgolf.audit.scorer.Scorer`."""
        key = tokens.tobytes()
        self.asked[key] += 1
        return self.run.losses(tokens, self.asked[key] - 1)[:, self.column]

    def start(self, first: int, targets: int) -> Session:
        """As `pgolf.audit.scorer.Feedable`."""
        return _RunSession(self, np.array([first], np.uint16), targets)


@dataclass
class _RunSession:
    """The tokens so far; what has not come yet is filled with others, so that the text has its length."""

    scorer: RunScorer
    tokens: Tokens
    targets: int

    def feed(self, tokens: Tokens) -> Losses:
        """As `pgolf.audit.scorer.Session`."""
        known = len(self.tokens)
        self.tokens = np.concatenate([self.tokens, tokens])
        run, column = self.scorer.run, self.scorer.column
        return run.losses(self._whole())[known - 1 : len(self.tokens) - 1, column]

    def fork(self) -> "_Next":
        """As `pgolf.audit.scorer.Forkable`: a copy for the next target, which sees what the whole text would say."""
        return _Next(self)

    def distribution(self) -> Losses:
        """As `pgolf.audit.scorer.Distributed`."""
        told: Losses = -self.scorer.run.told(self._whole(), len(self.tokens))[:, self.scorer.column]
        return told

    def _whole(self) -> Tokens:
        missing = self.targets + 1 - len(self.tokens)
        return np.concatenate([self.tokens, np.full(missing, _filler(self.scorer.run._bos_id), np.uint16)])


@dataclass(frozen=True)
class _Next:
    """A copy of a session that is asked about the next target alone: every token's loss there is made at once."""

    before: _RunSession

    def feed(self, tokens: Tokens) -> Losses:
        """The loss of one token as the next target, [1]; of more by a session that takes them."""
        if len(tokens) == 1:
            return -self.before.distribution()[tokens]
        session = _RunSession(self.before.scorer, self.before.tokens, self.before.targets)
        return session.feed(tokens)


def _filler(bos_id: int) -> int:
    """A token that starts no document."""
    return 0 if bos_id != 0 else 1


def _with(tokens: Tokens, target: int, token: int) -> Tokens:
    changed = tokens.copy()
    changed[target] = token
    return changed


def _groups(cells: Sequence[Cell], counts: Mapping[str, CountConfig], hinted: Sequence[int]) -> list[Mixture]:
    """The cells by the work they share, under their numbers."""
    groups: list[Mixture] = []
    for kind in MIXTURES:
        own = {number: cell for number, cell in enumerate(cells) if cell.mixer in kind.mixers}
        groups += kind.groups(own, counts, hinted)
    return groups
