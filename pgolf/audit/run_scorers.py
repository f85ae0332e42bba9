"""The scorers of a run as the audit asks them: the run's packed network, counts, hints and mixtures over any text.

A text goes through the code of the stages themselves: windows and test-time training as `score` does it, counts as
`count` and `hint` do, probabilities as `mix` does. One pass of the network serves every scorer of the run. What every
token would cost at a target is taken from the state before it; B5 holds that against what texts with these tokens cost.

A target that a run scores more than once (score.tail=repeat) has its first loss here.

Shapes: N targets, R records of them, V vocabulary, C scorers, K orders of the hints, M members of a mixture.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from pgolf.audit.kept import Kept
from pgolf.audit.named_scorers import BayesScorer, named_scorers
from pgolf.audit.run_network import NetworkColumns, RunNetwork
from pgolf.audit.scorer import Losses, Session, Tokens
from pgolf.counts.candidates import candidate_counts
from pgolf.counts.config import CountConfig
from pgolf.counts.count_stage import iterate_counts
from pgolf.counts.exact import exact_runs
from pgolf.counts.hint_config import HintConfig
from pgolf.counts.runs import plan_of
from pgolf.errors import ConfigError
from pgolf.eval.config import ScoreConfig
from pgolf.eval.trace import Trace
from pgolf.eval.windows import WindowPlan, plan_windows
from pgolf.mix.bayes import Sharing, padded
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.config import MixConfig
from pgolf.mix.grid import MIXTURES
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.hedge_pass import Hedges
from pgolf.mix.log_sums import LEAST_PROBABILITY
from pgolf.mix.mix_unit import Hints, Unit
from pgolf.mix.mixture import FLOOR, Mixture, exact_losses, probabilities
from pgolf.mix.product import Cell
from pgolf.model.checkpoint import Checkpoint

Float64Array = npt.NDArray[np.float64]

# Answers that are kept, per run and kind of question.
_KEPT_BYTES = 192 << 20
# Losses of all tokens at all records that one pass keeps: 128 MiB in float32, a trial of rows of 2,048 at V = 8,192.
_TOLD_IN_ONE = 1 << 25


@dataclass(frozen=True, slots=True)
class _Hinted:
    """The hints of every record by order, [K, R]: token (-1: none), its context's count, and its own."""

    token: npt.NDArray[np.int32]
    context: npt.NDArray[np.uint32]
    count: npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class _Text:
    """A text with its windows, its hints, and the target of every record, [R]."""

    tokens: Tokens
    plan: WindowPlan
    hinted: _Hinted | None
    targets: npt.NDArray[np.int64]

    def first_record(self, target: int) -> int:
        """The first record of a target, 1..N."""
        return int(np.argmax(self.targets == target))

    @property
    def hint_KR(self) -> npt.NDArray[np.int32] | None:
        """The hinted tokens."""
        return None if self.hinted is None else self.hinted.token


@dataclass(frozen=True, slots=True)
class _Known:
    """What an evaluation knows once it was fed so many targets: the network's columns, and losses, [N, C]."""

    network: NetworkColumns
    losses: Float64Array


class RunScorers:
    """Scorers of a mix: the network, the grid's cells, Bayes and fixed-share mixtures, Hedge mixtures, in this order.

    names: of each, its settings as the mix's rows have them in `cell`. Not for several threads at once.
    """

    def __init__(
        self,
        packed: Checkpoint,
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
        """packed: the network. only: names of the scorers that are wanted; None: all of them.

        Raises ConfigError for a mix that does not fit and for a name of none.
        """
        self._network = RunNetwork(packed, score, vocab_size=vocab_size, bos_id=bos_id, threads=threads)
        self.vocab_size, self._bos_id, self._score, self._hint = vocab_size, bos_id, score, hint
        self._counts = {name: config.of(config.estimator) for name, config in counts.items()}
        hinted = hint.orders if hint is not None else None
        scorers = {one.name: one.scorer for one in named_scorers(mix, self._counts, hint)}
        if only is not None and (missing := set(only) - scorers.keys()):
            raise ConfigError(f"the mix has no scorer {min(missing)}")
        wanted = {name: scorer for name, scorer in scorers.items() if only is None or name in only}
        self.names = tuple(wanted)
        self._cells = [scorer for scorer in wanted.values() if isinstance(scorer, Cell)]
        self._bayes = [scorer for scorer in wanted.values() if isinstance(scorer, BayesScorer)]
        self._hedges = [scorer for scorer in wanted.values() if isinstance(scorer, HedgeConfig)]
        self._grid = _groups(self._cells, self._counts, hinted or ())
        self._of_members = [_groups(own.members, self._counts, hinted or ()) for own in self._bayes]
        self._floor_C = np.array([0.0 if cell.normalized else FLOOR for cell in self._cells])
        used = {cell.counts for cell in (*self._cells, *(cell for own in self._bayes for cell in own.members))}
        self._counts = {name: config for name, config in self._counts.items() if name in used}
        self._answers = Kept[Float64Array](_KEPT_BYTES, _size)
        self._told = Kept[Float64Array](_KEPT_BYTES, _size)
        self._passes = Kept[NetworkColumns](_KEPT_BYTES, lambda network: len(network.told) * 4 * vocab_size)
        self._fed = Kept[_Known](_KEPT_BYTES, lambda known: known.network.columns.nbytes + known.losses.nbytes)

    @property
    def size(self) -> int:
        """Number of scorers, C."""
        return len(self.names)

    def losses(self, tokens: Tokens, evaluation: int = 0) -> Float64Array:
        """What every scorer says of a text, in nats, [N, C]. evaluation: another number evaluates it anew."""

        def made() -> Float64Array:
            text = self._text(tokens)
            return _of_targets(text, self._of_records(text, self._network.over(tokens, text.plan, text.hint_KR)))

        return self._answers.of((tokens.tobytes(), evaluation), made)

    def told(self, tokens: Tokens, targets: Sequence[int]) -> list[Float64Array]:
        """What every token would cost as each of these targets, 1..N, [V, C] each.

        From one pass over the text as it is: what stands there and behind may not matter.
        """
        asked = tokens.tobytes()
        found = {target: kept for target in targets if (kept := self._told.get((asked, target))) is not None}
        if missing := [target for target in targets if target not in found]:
            text = self._text(tokens)
            records = [text.first_record(target) for target in missing]
            of_records = self._told_at(text, self._pass_that_tells(text, records), records)
            for target, record in zip(missing, records):
                found[target] = self._told.of((asked, target), partial(of_records.__getitem__, record))
        return [found[target] for target in targets]

    def scorers(self) -> "list[RunScorer]":
        """One scorer per column of `losses`."""
        return [RunScorer(self, column) for column in range(self.size)]

    def of_records(self, tokens: Tokens) -> Float64Array:
        """What every scorer says of every record of a text, in nats, in the order of scoring, [R, C]."""
        text = self._text(tokens)
        return self._of_records(text, self._network.over(tokens, text.plan, text.hint_KR))

    def fed(self, fed: "Fed") -> Losses:
        """What every scorer says of the targets of the last piece, [T, C]."""
        known = self._known(fed)
        return known.losses[fed.before : len(fed.tokens) - 1]

    def told_next(self, fed: "Fed") -> Float64Array:
        """What every token would cost as the next target, [V, C]."""

        def made() -> Float64Array:
            text, target = self._text(fed.whole(_filler(self._bos_id))), len(fed.tokens)
            network, record = self._further(fed, text, target, tells=True), text.first_record(target)
            return self._told_at(text, network, [record])[record]

        return self._told.of(fed.key, made)

    def _known(self, fed: "Fed") -> _Known:
        def made() -> _Known:
            assert fed.last is not None
            text = self._text(fed.whole(_filler(self._bos_id)))
            network = self._further(fed.last, text, len(fed.tokens) - 1)
            return _Known(network, _of_targets(text, self._of_records(text, network)))

        return self._fed.of(fed.key, made)

    def _further(self, fed: "Fed", text: _Text, target: int, *, tells: bool = False) -> NetworkColumns:
        """The network's columns up to a target, from those of the pieces before. tells: every token's there as well."""
        first = text.first_record(fed_targets) + 1 if (fed_targets := len(fed.tokens) - 1) else 0
        record = text.first_record(target)
        network = self._network.over(
            text.tokens, text.plan, text.hint_KR, records=range(first, record + 1), told=[record] if tells else ()
        )
        if first:
            network.columns[:, :first] = self._known(fed).network.columns[:, :first]
        return network

    def _pass_that_tells(self, text: _Text, records: Sequence[int]) -> NetworkColumns:
        """A pass that tells of every token at these records; at all that there are, and kept, if that is little."""

        def made(told: Collection[int]) -> NetworkColumns:
            return self._network.over(text.tokens, text.plan, text.hint_KR, told=told)

        if text.plan.records * self.vocab_size > _TOLD_IN_ONE:
            return made(records)
        return self._passes.of(text.tokens.tobytes(), partial(made, range(text.plan.records)))

    def _text(self, tokens: Tokens) -> _Text:
        score, targets = self._score, len(tokens) - 1
        plan = plan_windows(targets, window=score.window, stride=score.stride, tail=score.tail)
        return _Text(tokens, plan, self._hinted(tokens, plan), plan.record_targets())

    def _of_records(self, text: _Text, network: NetworkColumns) -> Float64Array:
        unit = self._unit(text, network)
        hedged = self._hedges_over(text, network).losses() if self._hedges else []
        return np.column_stack([self._cell_losses(unit), *self._mixed_losses(unit), *hedged])

    def _told_at(self, text: _Text, network: NetworkColumns, records: Sequence[int]) -> dict[int, Float64Array]:
        """What every token would cost at these records, by record, [V, C].

        The columns need be known up to them, and the network have told of them.
        """
        candidates = {record: network.told[record].astype(np.float64) for record in sorted(records)}
        hedges = self._hedges_over(text, network, candidates) if self._hedges else None
        walks = self._walks(self._unit(text, network)) if self._bayes else []
        found = {}
        for record in candidates:
            of_all = self._unit_of_all(text, network, record)
            columns = [self._cell_losses(of_all)]
            for walk in walks:
                walk.go_to(record)
                columns.append(walk.mixed(of_all)[:, None])
            told = [] if hedges is None else hedges.told(record)
            found[record] = np.column_stack([*columns, *told])
        return found

    def _unit_of_all(self, text: _Text, network: NetworkColumns, record: int) -> Unit:
        """One record, as often as there are tokens, with each of them for its target."""
        V, counts = self.vocab_size, dict[str, list[npt.NDArray[np.uint32]]]()
        for name, config in self._counts.items():
            plan = plan_of(config, len(text.tokens) - 1)
            counts[name] = list(candidate_counts(config, plan, text.tokens, record, vocab_size=V, bos_id=self._bos_id))
        hints = None
        if (hinted := text.hinted) is not None:
            context, count = ([np.repeat(row, V) for row in rows[:, record]] for rows in (hinted.context, hinted.count))
            is_target = [np.arange(V) == token for token in hinted.token[:, record]]
            hints = Hints(context, count, is_target, [np.repeat(logp, V) for logp in network.hint_logp[:, record]])
        return Unit(network.told[record], np.repeat(network.entropy_nats[record], V), counts, hints)

    def _hinted(self, tokens: Tokens, plan: WindowPlan) -> _Hinted | None:
        if self._hint is None:
            return None
        own = plan_of(self._hint, plan.targets)
        runs = exact_runs(self._hint, own, tokens, bos_id=self._bos_id, hints=True, threads=1)
        seen = [seen for run, seen in runs if run.look_up]
        return _Hinted(*(np.concatenate([getattr(one, name) for one in seen], axis=1) for name in _HINT_COLUMNS))

    def _counted(self, config: CountConfig, tokens: Tokens) -> npt.NDArray[np.uint32]:
        """Context counts by order, then full counts by order, of all records, [2·O, R]."""
        plan = plan_of(config, len(tokens) - 1)
        parts = iterate_counts(config, plan, tokens, vocab_size=self.vocab_size, bos_id=self._bos_id)
        return np.concatenate([np.concatenate([part.context, part.full]) for part in parts], axis=1)

    def _unit(self, text: _Text, network: NetworkColumns) -> Unit:
        columns = {name: list(self._counted(config, text.tokens)) for name, config in self._counts.items()}
        hints = None
        if (hinted := text.hinted) is not None:
            is_target = [row == text.tokens[text.targets] for row in hinted.token]
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

    def _mixed_losses(self, unit: Unit) -> list[Losses]:
        """Losses of the Bayes and fixed-share mixtures, [R] each."""
        found = []
        for walk in self._walks(unit):
            found.append(np.array([walk.go_to(record + 1) for record in range(len(unit))]))
        return found

    def _walks(self, unit: Unit) -> "list[_Walk]":
        mixtures = zip(self._bayes, self._of_members)
        return [_Walk(own.config, groups, len(own.members), unit) for own, groups in mixtures]

    def _hedges_over(
        self, text: _Text, network: NetworkColumns, candidates: Mapping[int, Float64Array] = MappingProxyType({})
    ) -> Hedges:
        hedges = Hedges(
            self._hedges,
            text.plan,
            text.tokens,
            vocab_size=self.vocab_size,
            means=network.means,
            keep_losses=True,
            candidates=candidates,
        )
        hedges.add(Trace(text.targets, network.loss_nats, network.entropy_nats))
        return hedges


_HINT_COLUMNS = ("hint", "context", "count")


@dataclass(frozen=True, slots=True)
class Fed:
    """What an evaluation was fed: x[0..t] of a text of so many targets, in pieces. last: as it was a piece before."""

    tokens: Tokens
    targets: int
    last: "Fed | None" = None
    ends: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[bytes, int, tuple[int, ...]]:
        """The same for two evaluations that were fed the same tokens in the same pieces."""
        return self.tokens.tobytes(), self.targets, self.ends

    @property
    def before(self) -> int:
        """Targets before the last piece."""
        return 0 if self.last is None else len(self.last.tokens) - 1

    def further(self, tokens: Tokens) -> "Fed":
        """With one more piece."""
        known = np.concatenate([self.tokens, tokens])
        return Fed(known, self.targets, self, (*self.ends, len(known) - 1))

    def whole(self, filler: int) -> Tokens:
        """The text at its length: what has not come yet is this token."""
        return np.concatenate([self.tokens, np.full(self.targets + 1 - len(self.tokens), filler, np.uint16)])


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
        return _RunSession(self, Fed(np.array([first], np.uint16), targets))

    def foretell(self, tokens: Tokens, targets: Sequence[int]) -> Losses:
        """As `pgolf.audit.scorer.Foretelling`."""
        return -np.stack([told_VC[:, self.column] for told_VC in self.run.told(tokens, targets)])


@dataclass
class _RunSession:
    """An evaluation of one scorer, which has the tokens that it was fed and no other."""

    scorer: RunScorer
    fed: Fed

    def feed(self, tokens: Tokens) -> Losses:
        """As `pgolf.audit.scorer.Session`."""
        self.fed = self.fed.further(tokens)
        return self.scorer.run.fed(self.fed)[:, self.scorer.column]

    def fork(self) -> "_RunSession":
        """As `pgolf.audit.scorer.Forkable`."""
        return _RunSession(self.scorer, self.fed)

    def distribution(self) -> Losses:
        """As `pgolf.audit.scorer.Distributed`."""
        told: Losses = -self.scorer.run.told_next(self.fed)[:, self.scorer.column]
        return told


class _Walk:
    """A Bayes or fixed-share mixture on its way over the records of a text."""

    def __init__(self, config: BayesConfig, groups: Sequence[Mixture], members: int, unit: Unit) -> None:
        self._sharing = Sharing(members, share_rate=config.share_rate, chunk_targets=config.chunk_targets)
        self._groups, self._members, self._done = groups, members, 0
        self._p_RP = probabilities(groups, unit, padded(members))
        hard_H = np.flatnonzero((self._p_RP < LEAST_PROBABILITY).any(axis=1))
        exact_HM = exact_losses(groups, unit.part(hard_H), members) if len(hard_H) else ()
        self._hard = dict(zip(hard_H.tolist(), exact_HM))

    def go_to(self, record: int) -> float:
        """Move the weights over the records before this one; what these cost."""
        self._sharing.loss_nats, done = 0.0, self._done
        hard = {at - done: loss_M for at, loss_M in self._hard.items() if done <= at < record}
        self._sharing.add(self._p_RP[done:record], hard)
        self._done = record
        return self._sharing.loss_nats

    def mixed(self, of_all: Unit) -> Losses:
        """What each of these would cost as the next record, [V]."""
        p_VM = probabilities(self._groups, of_all, self._members)
        loss_VM = -np.log(np.maximum(p_VM, LEAST_PROBABILITY))
        hard_H = np.flatnonzero((p_VM < LEAST_PROBABILITY).any(axis=1))
        if len(hard_H):
            loss_VM[hard_H] = exact_losses(self._groups, of_all.part(hard_H), self._members)
        least_V = loss_VM.min(axis=1)
        mixed: Losses = least_V - np.log(np.exp(least_V[:, None] - loss_VM) @ self._sharing.shares())
        return mixed


def _of_targets(text: _Text, loss_RC: Float64Array) -> Float64Array:
    """The losses of the targets, [N, C]: of several records of a target, the first."""
    loss_NC = np.empty((text.plan.targets, loss_RC.shape[1]))
    loss_NC[text.targets[::-1] - 1] = loss_RC[::-1]  # later ones are written first, and so over
    return loss_NC


def _size(losses: Float64Array) -> int:
    return losses.nbytes


def _filler(bos_id: int) -> int:
    """A token that starts no document."""
    return 0 if bos_id != 0 else 1


def _groups(cells: Sequence[Cell], counts: Mapping[str, CountConfig], hinted: Sequence[int]) -> list[Mixture]:
    """The cells by the work they share, under their numbers."""
    groups: list[Mixture] = []
    for kind in MIXTURES:
        own = {number: cell for number, cell in enumerate(cells) if cell.mixer in kind.mixers}
        groups += kind.groups(own, counts, hinted)
    return groups
