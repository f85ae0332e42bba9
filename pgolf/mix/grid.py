"""A whole grid of mixtures in one pass over trace, counts and hints, in bounded memory and on all cores.

Cells that agree on which order serves which target share that work: a *rule* (counts, orders to try, min_count) picks
the targets that have an estimate once, and every weight then runs over those few (`pgolf.mix.grid_loops`: three
multiplications, an addition and a maximum per target and weight). A Dirichlet point passes every shorter order on its
way, so these cost their logarithms alone.

Fixed-share and chunked mixtures need the targets one after the other: their members' probabilities are made in slices,
many at a time and on all cores, and taken in order. Bayes mixtures that are updated after every target need the
members' totals alone.

Sums run in a fixed order (unit by unit of UNIT_RECORDS, whatever thread took which), so threads change no bit, and a
run that goes on after a unit ends with the same bits as one that was never interrupted.

Shapes: T records of a unit, K of them matched by a rule, O orders, A weights, P columns of members.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pgolf.counts.config import CountConfig
from pgolf.machine.in_order import in_order
from pgolf.mix import grid_loops as loops
from pgolf.mix.bayes import LEAST_PROBABILITY, Sharing, bayes_loss, bayes_shares, padded
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import Cell
from pgolf.mix.interpolation import FLOOR, LEAST_KEPT, legacy_weights, normalized_weights, sigmoid_of_entropy

# Records one thread takes at a time: its work arrays stay within a core's second-level cache.
UNIT_RECORDS = 1 << 15

# Probabilities of members made at a time, per thread: 16 MiB.
SLICE_PROBABILITIES = 1 << 21

Float64Array = npt.NDArray[np.float64]
Scores = tuple[Float64Array, npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Rule:
    """Which order serves which target: the first of `rows` (rows of the count columns) seen min_count times."""

    counts: str
    rows: tuple[int, ...]
    min_count: int


@dataclass(frozen=True, slots=True)
class HintRule:
    """Which hint serves which target: of the longest order up to `row` that is frequent and confident enough."""

    row: int
    min_count: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Hints:
    """Per order of the hints, one array over the records: c(context), c(context, hint), hint is target, ln p(hint)."""

    context: Sequence[npt.NDArray[np.uint32]]
    count: Sequence[npt.NDArray[np.uint32]]
    is_target: Sequence[npt.NDArray[np.bool_]]
    logp: Sequence[npt.NDArray[np.float32]]

    def part(self, part: slice) -> "Hints":
        """The same of some of the records."""
        return Hints(
            [column[part] for column in self.context],
            [column[part] for column in self.count],
            [column[part] for column in self.is_target],
            [column[part] for column in self.logp],
        )


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive records with everything a cell can need: the trace's two numbers, each count stage's columns, hints.

    counts: name -> context counts by order, then full counts by order.
    """

    loss_nats: npt.NDArray[np.float32]
    entropy_nats: npt.NDArray[np.float32]
    counts: Mapping[str, Sequence[npt.NDArray[np.uint32]]]
    hints: Hints | None = None

    def __len__(self) -> int:
        return len(self.loss_nats)

    def part(self, part: slice) -> "Unit":
        """The same of some of the records."""
        counts = {name: [column[part] for column in columns] for name, columns in self.counts.items()}
        hints = None if self.hints is None else self.hints.part(part)
        return Unit(self.loss_nats[part], self.entropy_nats[part], counts, hints)


@dataclass(frozen=True, slots=True)
class Totals:
    """Per cell: loss in nats summed over all records, and how many of them had an estimate to mix in."""

    loss_nats: Float64Array
    matched: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mixed:
    """What one Bayes or fixed-share mixture made of all records, and its members' final weights."""

    loss_nats: float
    shares: Float64Array


def rule_of(cell: Cell, orders: Sequence[int]) -> Rule:
    """Which orders a mixture tries, as rows of its count stage's columns (`orders`, ascending)."""
    assert cell.counts is not None
    assert cell.order is not None
    assert cell.min_count is not None
    row = list(orders).index(cell.order)
    rows = (row,) if cell.mixer == "fixed" else tuple(range(row, -1, -1))
    return Rule(cell.counts, rows, cell.min_count)


@dataclass(slots=True)
class _Weights:
    """The cells of one rule, by number: constant weights, and adaptive ones by (slope, threshold)."""

    constant: list[int] = field(default_factory=list)
    adaptive: dict[tuple[float, float], list[int]] = field(default_factory=dict)


class _Work:
    """Cells sorted by the work they share; `cells` maps their number (of a total, of a column) to the cell."""

    def __init__(self, cells: Mapping[int, Cell], counts: Mapping[str, CountConfig], hinted: Sequence[int]) -> None:
        self.cells = cells
        self.legacy = {name: config.estimator == "hashed" for name, config in counts.items()}
        self.network: list[int] = []
        self.rules: dict[Rule, _Weights] = {}
        # counts -> concentration -> row of the order -> cell; hint rule -> gamma -> cells.
        self.dirichlet: dict[str, dict[float, dict[int, int]]] = {}
        self.tilts: dict[HintRule, dict[float, list[int]]] = {}
        for number, cell in cells.items():
            self._sort_in(number, cell, counts, hinted)

    def _sort_in(self, number: int, cell: Cell, counts: Mapping[str, CountConfig], hinted: Sequence[int]) -> None:
        if cell.estimator == "neural":
            self.network.append(number)
            return
        assert cell.order is not None
        if cell.estimator == "hint":
            assert cell.min_count is not None
            assert cell.tilt_confidence is not None
            assert cell.tilt_gamma is not None
            hint_rule = HintRule(list(hinted).index(cell.order), cell.min_count, cell.tilt_confidence)
            self.tilts.setdefault(hint_rule, {}).setdefault(cell.tilt_gamma, []).append(number)
            return
        assert cell.counts is not None
        orders = counts[cell.counts].orders
        if cell.concentration is not None:
            of_counts = self.dirichlet.setdefault(cell.counts, {})
            of_counts.setdefault(cell.concentration, {})[orders.index(cell.order)] = number
            return
        weights = self.rules.setdefault(rule_of(cell, orders), _Weights())
        if cell.alpha is not None:
            weights.constant.append(number)
        else:
            assert cell.entropy_slope is not None
            assert cell.entropy_threshold_nats is not None
            shape = (cell.entropy_slope, cell.entropy_threshold_nats)
            weights.adaptive.setdefault(shape, []).append(number)

    def alphas(self, numbers: Sequence[int], legacy: bool) -> tuple[Float64Array, Float64Array]:
        """Weights of the network and of the estimate, for cells with a constant alpha; [A] each."""
        alpha_A = np.array([self.cells[k].alpha for k in numbers], np.float64)
        return legacy_weights(alpha_A) if legacy else normalized_weights(alpha_A)

    def entropies(self, numbers: Sequence[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Bases and ranges of adaptive weights; [A] each."""
        base_A = np.array([self.cells[k].entropy_base for k in numbers], np.float32)
        return base_A, np.array([self.cells[k].entropy_range for k in numbers], np.float32)

    def tilts_of(self, numbers: Sequence[int]) -> Float64Array:
        """Tilts in nats, [A]."""
        return np.array([self.cells[k].tilt_nats for k in numbers], np.float64)


class _Matches:
    """One unit as the loops read it, each part made when it is first asked for."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.loss_T = unit.loss_nats.astype(np.float64)
        self.p_T = np.exp(-self.loss_T)
        self._columns = {name: np.stack(columns) for name, columns in unit.counts.items()}
        self._sigmoids: dict[tuple[float, float], npt.NDArray[np.float32]] = {}
        size = len(unit)
        self._index_K, self._p_K, self._r_K = np.empty(size, np.int64), np.empty(size), np.empty(size)
        self._hit_K = np.empty(size, np.bool_)

    def of_rule(
        self, rule: Rule, kept_T: Float64Array
    ) -> tuple[float, npt.NDArray[np.int64], Float64Array, Float64Array]:
        """(loss of the others by kept_T, places, p, estimates) of the targets a rule serves; valid until the next."""
        rows = np.array(rule.rows, np.int64)
        size, unmatched_nats = loops.match(
            self._columns[rule.counts], rows, rule.min_count, self.p_T, kept_T, self._index_K, self._p_K, self._r_K
        )
        return unmatched_nats, self._index_K[:size], self._p_K[:size], self._r_K[:size]

    def of_hints(
        self, rule: HintRule
    ) -> tuple[npt.NDArray[np.int64], Float64Array, Float64Array, npt.NDArray[np.bool_]]:
        """(places, p(hint), 1 - p(hint), hint is target) of the targets with a hint; valid until the next."""
        size = loops.match_hints(
            *self._hints,
            rule.row,
            rule.min_count,
            rule.confidence,
            self._index_K,
            self._p_K,
            self._hit_K,
        )
        logp_K = self._p_K[:size]
        return self._index_K[:size], np.exp(logp_K), -np.expm1(logp_K), self._hit_K[:size]

    @cached_property
    def _hints(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Contexts' counts, hints' counts, hint is target and ln p(hint), [O, T] each."""
        hints = self.unit.hints
        assert hints is not None
        return np.stack(hints.context), np.stack(hints.count), np.stack(hints.is_target), np.stack(hints.logp)

    def sigmoid(self, shape: tuple[float, float]) -> npt.NDArray[np.float32]:
        """σ of the entropies, by (slope, threshold)."""
        if shape not in self._sigmoids:
            self._sigmoids[shape] = sigmoid_of_entropy(self.unit.entropy_nats, *shape)
        return self._sigmoids[shape]

    def counts(self, name: str) -> tuple[Float64Array, Float64Array]:
        """Context and full counts as doubles, full cut at context; [O, T] each."""
        columns = self._columns[name]
        context_OT, full_OT = np.split(columns, 2)
        return context_OT.astype(np.float64), np.minimum(full_OT, context_OT).astype(np.float64)


class Grid:
    """The cells sorted by the work they share, ready to run over records, and mixtures of some of them.

    bayes: mixtures with their members. hinted: orders of the hints.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        counts: Mapping[str, CountConfig],
        *,
        hinted: Sequence[int] = (),
        bayes: Sequence[tuple[BayesConfig, Sequence[Cell]]] = (),
    ) -> None:
        members = [cell for _, listed in bayes for cell in listed]
        assert all(cell.normalized for cell in members)
        # Members that are no cells of the grid are scored all the same, at the end.
        self.cells = tuple(dict.fromkeys([*cells, *members]))
        self._work = _Work(dict(enumerate(self.cells)), counts, hinted)
        place = {cell: number for number, cell in enumerate(self.cells)}
        self._members = [np.array([place[cell] for cell in listed], np.int64) for _, listed in bayes]
        # By the mixtures' place: those whose weights have to be followed from target to target; and those of the same
        # members together, because making the members' probabilities is most of the work.
        self._streams: dict[int, Sharing] = {}
        alike: dict[tuple[Cell, ...], list[Sharing]] = {}
        for number, (config, listed) in enumerate(bayes):
            if config.share_rate or config.chunk_targets > 1:
                sharing = Sharing(len(listed), share_rate=config.share_rate, chunk_targets=config.chunk_targets)
                self._streams[number] = sharing
                alike.setdefault(tuple(listed), []).append(sharing)
        self._followed = [
            (_Work(dict(enumerate(listed)), counts, hinted), sharings) for listed, sharings in alike.items()
        ]
        self._loss_nats = np.zeros(len(self.cells))
        self._matched = np.zeros(len(self.cells), np.int64)

    def run(
        self, units: Iterable[Unit], *, threads: int = 1, after_unit: Callable[[Unit], None] = lambda _unit: None
    ) -> Totals:
        """Score all cells over all units; the result does not depend on `threads`.

        after_unit is called when a unit is in all sums: then `state` is what a later run can go on from.
        """
        with ThreadPoolExecutor(max_workers=threads) as pool:
            steps = in_order(pool, lambda step: step(), self._steps(units, after_unit), ahead=2 * threads)
            for take in steps:
                take()
        return self.totals()

    def totals(self) -> Totals:
        """Sums over the units so far; first those of the grid's cells, then those of members that are none."""
        return Totals(self._loss_nats.copy(), self._matched.copy())

    def mixed(self) -> list[Mixed]:
        """What the Bayes and fixed-share mixtures made of the units so far, in their order."""
        found = []
        for number, members in enumerate(self._members):
            if number in self._streams:
                sharing = self._streams[number]
                found.append(Mixed(sharing.loss_nats, sharing.shares()))
            else:
                loss_nats_K = self._loss_nats[members]
                found.append(Mixed(bayes_loss(loss_nats_K), bayes_shares(loss_nats_K)))
        return found

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """All sums as they are between two units, by name."""
        found: dict[str, npt.NDArray[np.generic]] = {"loss_nats": self._loss_nats, "matched": self._matched}
        for number, sharing in self._streams.items():
            found |= {f"{number}.{name}": array for name, array in sharing.state().items()}
        return found

    def restore(self, state: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Go on from what `state` gave."""
        self._loss_nats[:] = state["loss_nats"]
        self._matched[:] = state["matched"]
        for number, sharing in self._streams.items():
            sharing.restore({name: state[f"{number}.{name}"].astype(np.float64) for name in sharing.state()})

    def _steps(
        self, units: Iterable[Unit], after_unit: Callable[[Unit], None]
    ) -> Iterator[Callable[[], Callable[[], None]]]:
        """The work in order: each step is done by any thread and returns what is then done in order by one."""
        for unit in units:
            for work, sharings in self._followed:
                columns = padded(len(work.cells))
                records = max(1, SLICE_PROBABILITIES // columns)
                for first in range(0, len(unit), records):
                    yield partial(_slice, unit.part(slice(first, first + records)), work, sharings, columns)
            yield partial(self._unit, unit, after_unit)

    def _unit(self, unit: Unit, after_unit: Callable[[Unit], None]) -> Callable[[], None]:
        loss_nats, matched = _scores(unit, self._work)

        def take() -> None:
            self._loss_nats += loss_nats
            self._matched += matched
            after_unit(unit)

        return take


def _slice(unit: Unit, work: _Work, sharings: Sequence[Sharing], columns: int) -> Callable[[], None]:
    probability_TP = _member_probabilities(unit, work, columns)

    def take() -> None:
        for sharing in sharings:
            sharing.add(probability_TP)

    return take


def _scores(unit: Unit, work: _Work) -> Scores:
    """Loss in nats and matched targets of every cell over one unit."""
    loss_nats = np.zeros(len(work.cells))
    matched = np.zeros(len(work.cells), np.int64)
    ready = _Matches(unit)
    loss_nats[work.network] = ready.loss_T.sum()
    # A legacy scorer clips what it does not mix as well.
    kept_T = {True: np.clip(ready.loss_T, 0.0, -np.log(FLOOR)), False: ready.loss_T}
    for rule, weights in work.rules.items():
        legacy = work.legacy[rule.counts]
        floor = FLOOR if legacy else 0.0
        unmatched_nats, index_K, p_K, r_K = ready.of_rule(rule, kept_T[legacy])
        numbers = [*weights.constant, *(k for cells in weights.adaptive.values() for k in cells)]
        loss_nats[numbers] = unmatched_nats
        matched[numbers] = len(index_K)
        if constant := weights.constant:
            loss_nats[constant] += loops.constant_loss(p_K, r_K, *work.alphas(constant, legacy), floor)
        for shape, adaptive in weights.adaptive.items():
            sigmoid_K = ready.sigmoid(shape)[index_K]
            loss_nats[adaptive] += loops.adaptive_loss(
                p_K, r_K, sigmoid_K, *work.entropies(adaptive), legacy, floor, LEAST_KEPT
            )
    for name, by_concentration in work.dirichlet.items():
        context_OT, full_OT = ready.counts(name)
        number_AO = _numbers(by_concentration, len(context_OT))
        wanted_AO = number_AO >= 0
        loss_AO = loops.dirichlet_losses(
            context_OT,
            full_OT,
            ready.p_T,
            np.array([*by_concentration]),
            wanted_AO,
            FLOOR if work.legacy[name] else 0.0,
        )
        seen_O = np.logical_or.accumulate(context_OT > 0).sum(axis=1)
        loss_nats[number_AO[wanted_AO]] = loss_AO[wanted_AO]
        matched[number_AO[wanted_AO]] = np.broadcast_to(seen_O, wanted_AO.shape)[wanted_AO]
    for hint_rule, by_gamma in work.tilts.items():
        index_K, q_K, unsure_K, hit_K = ready.of_hints(hint_rule)
        for gamma, numbers in by_gamma.items():
            added_A = loops.tilt_losses(q_K, hit_K, unsure_K**gamma, gamma == 0.0, work.tilts_of(numbers))
            loss_nats[numbers] = ready.loss_T.sum() + added_A
            matched[numbers] = len(index_K)
    return loss_nats, matched


def _member_probabilities(unit: Unit, work: _Work, columns: int) -> Float64Array:
    """Every member's probability of every target, [T, P]; the columns beyond the members hold the network's."""
    ready = _Matches(unit)
    np.maximum(ready.p_T, LEAST_PROBABILITY, out=ready.p_T)
    out_TP: Float64Array = np.repeat(ready.p_T[:, None], columns, axis=1)
    for rule, weights in work.rules.items():
        _, index_K, p_K, r_K = ready.of_rule(rule, ready.loss_T)
        if constant := weights.constant:
            loops.fill_constant(out_TP, np.array(constant), index_K, p_K, r_K, *work.alphas(constant, legacy=False))
        for shape, adaptive in weights.adaptive.items():
            sigmoid_K = ready.sigmoid(shape)[index_K]
            loops.fill_adaptive(
                out_TP, np.array(adaptive), index_K, p_K, r_K, sigmoid_K, *work.entropies(adaptive), LEAST_KEPT
            )
    for name, by_concentration in work.dirichlet.items():
        context_OT, full_OT = ready.counts(name)
        column_AO = _numbers(by_concentration, len(context_OT))
        loops.fill_dirichlet(out_TP, context_OT, full_OT, ready.p_T, np.array([*by_concentration]), column_AO)
    for hint_rule, by_gamma in work.tilts.items():
        index_K, q_K, unsure_K, hit_K = ready.of_hints(hint_rule)
        for gamma, numbers in by_gamma.items():
            fade_K = unsure_K**gamma
            loops.fill_tilt(out_TP, np.array(numbers), index_K, ready.p_T, q_K, hit_K, fade_K, work.tilts_of(numbers))
    np.maximum(out_TP, LEAST_PROBABILITY, out=out_TP)
    return out_TP


def _numbers(by_concentration: Mapping[float, Mapping[int, int]], orders: int) -> npt.NDArray[np.int64]:
    """Cell of each concentration and order, -1 where there is none; [A, O]."""
    number_AO = np.full((len(by_concentration), orders), -1)
    for a, by_row in enumerate(by_concentration.values()):
        for row, number in by_row.items():
            number_AO[a, row] = number
    return number_AO
