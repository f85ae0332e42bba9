"""Fixed, backoff and adaptive mixtures: the network's probability interpolated with an n-gram estimate.

p' = (1 - a)·p + a·r, r = c(context, target) / c(context) of one order: `fixed` names it, `backoff` and `adaptive` take
the longest whose context was seen min_count times. a is constant (fixed, backoff) or rises with the network's entropy
(adaptive). A target whose context was seen less often keeps p.

LEGACY mixtures take hashed counts and repeat the published arithmetic, floored at 1e-12. Their r does not sum to 1 over
the vocabulary, so neither does p'.

NORMALIZED mixtures take exact counts: r sums to 1, the order and the weight depend on the context and the network's
distribution but never on the target, hence p' sums to 1 as well. A floor under p' would break that (it adds mass to
every token below it), so here the *weight* is kept below 1 instead: p' >= 1e-12·p, a finite loss for a finite network
loss, and still a convex combination of two distributions.

All that enters a compiled function stands in this file (see `pgolf.mix.log_sums`).

Shapes: T records of a unit, K of them matched by a rule, O orders, A weights, M sampled records.
Source: openai/parameter-golf PR #715 (fixed), #761 and #792 (backoff, adaptive).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple, Self

import numba
import numpy as np
import numpy.typing as npt

from pgolf.counts.config import CountConfig
from pgolf.counts.mass import MassSample
from pgolf.mix.log_sums import AddLosses, add_losses, add_losses_in_turn
from pgolf.mix.mix_unit import CountArray, Float64Array, Prepared
from pgolf.mix.mixture import FLOOR, Int64Array, Mixture, Scores, Tile, filled
from pgolf.mix.product import ONE_ORDER, Cell, Mixer

LEAST_KEPT = 1e-12  # the least weight of the network in a normalized mixture

Float32Array = npt.NDArray[np.float32]


@numba.njit(nogil=True, cache=True)
def mixed(p: float, r: float, alpha: float, legacy: bool) -> float:
    """p' of one target that is matched.

    legacy: 1 - alpha is taken in alpha's own precision, as published, which is single where alpha follows the entropy.
    """
    ngram = np.float64(alpha)
    network = np.float64(np.float32(1.0) - alpha)
    if not legacy:
        ngram = min(ngram, np.float64(1.0 - LEAST_KEPT))
        network = np.float64(1.0 - ngram)
    return network * p + ngram * r


@numba.njit(nogil=True, cache=True)
def serving_row(columns: CountArray, i: int, rows: Int64Array, min_count: int) -> int:
    """The first of `rows` whose context was seen often enough before target i; -1: none was.

    It looks at context counts only: a rule that also saw the full count would know the target.
    """
    for row in rows:
        if columns[row, i] >= min_count:
            return int(row)
    return -1


@numba.njit(nogil=True, cache=True)
def match(
    columns: CountArray,
    rows: Int64Array,
    min_count: int,
    p_T: Float64Array,
    kept_T: Float64Array,
    index_K: Int64Array,
    p_K: Float64Array,
    r_K: Float64Array,
) -> tuple[int, float]:
    """Gather the targets that are served: their place, p and estimate r; returns how many, and the loss of the others.

    columns: context counts by order, then full counts by order, [2·O, T]. kept_T: losses of those that are not.
    """
    orders = len(columns) // 2
    size = 0
    unmatched_nats = 0.0
    for i in range(len(p_T)):
        row = serving_row(columns, i, rows, min_count)
        if row < 0:
            unmatched_nats += kept_T[i]
        else:
            context = columns[row, i]
            index_K[size] = i
            p_K[size] = p_T[i]
            r_K[size] = np.float64(min(columns[orders + row, i], context)) / np.float64(context)
            size += 1
    return size, unmatched_nats


@numba.njit(nogil=True, cache=True)
def serving_rows(context_OM: CountArray, rows: Int64Array, min_count: int) -> Int64Array:
    """`serving_row` of every record."""
    row_M = np.empty(context_OM.shape[1], np.int64)
    for i in range(len(row_M)):
        row_M[i] = serving_row(context_OM, i, rows, min_count)
    return row_M


@numba.njit(nogil=True, cache=True)
def mix_constant(
    out_AK: Float64Array, p_K: Float64Array, r_K: Float64Array, alpha_A: Float64Array, legacy: bool
) -> None:
    """p' by a weight for all targets."""
    for a in range(len(alpha_A)):
        for i in range(len(p_K)):
            out_AK[a, i] = mixed(p_K[i], r_K[i], alpha_A[a], legacy)


@numba.njit(nogil=True, cache=True)
def mix_adaptive(
    out_AK: Float64Array,
    p_K: Float64Array,
    r_K: Float64Array,
    sigmoid_K: Float32Array,
    base_A: Float32Array,
    span_A: Float32Array,
    legacy: bool,
) -> None:
    """p' by the weight base + span·σ of each target, in single precision as published."""
    for a in range(len(base_A)):
        for i in range(len(p_K)):
            out_AK[a, i] = mixed(p_K[i], r_K[i], base_A[a] + span_A[a] * sigmoid_K[i], legacy)


def sigmoid_of_entropy(entropy_T: Float32Array, slope: float, threshold_nats: float) -> Float32Array:
    """σ(slope·(H - threshold)), float32.

    As published its argument is float32; σ itself is taken in double and rounded, so that processors whose float32
    exponentials differ in the last bit give one result.
    """
    x_T = np.float32(slope) * (entropy_T - np.float32(threshold_nats))
    # exp(-|x|) cannot overflow; σ(x) = 1 - σ(-x).
    small_T = np.exp(-np.abs(x_T.astype(np.float64)))
    return (np.where(x_T >= 0, 1.0, small_T) / (1.0 + small_T)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Rule:
    """Which order serves which target: the first of `rows` (rows of the count columns) seen min_count times."""

    counts: str
    rows: tuple[int, ...]
    min_count: int

    @classmethod
    def of(cls, cell: Cell, orders: Sequence[int]) -> Self:
        """The rule of a cell over counts of these orders, ascending."""
        assert cell.counts is not None
        assert cell.order is not None
        assert cell.min_count is not None
        row = list(orders).index(cell.order)
        rows = (row,) if cell.mixer in ONE_ORDER else tuple(range(row, -1, -1))
        return cls(cell.counts, rows, cell.min_count)


class _Served(NamedTuple):
    """The targets that a rule serves, their p and estimates; and the summed loss of all others."""

    unmatched_nats: float
    records: Int64Array
    p: Float64Array
    r: Float64Array


class _Weighed(NamedTuple):
    """Cells of a rule whose weights are told in one way, by number.

    fill: writes p' of some of them at some of the served targets. add: sums their losses.
    """

    cells: Int64Array
    fill: Callable[[Float64Array, slice, slice], None]
    add: AddLosses


class Interpolation(Mixture):
    """The cells of one rule, and their weights."""

    mixers: ClassVar[frozenset[Mixer]] = frozenset({"fixed", "backoff", "adaptive"})

    def __init__(self, rule: Rule, cells: Mapping[int, Cell], *, legacy: bool) -> None:
        self._rule, self._legacy, self._cells = rule, legacy, np.array([*cells])
        self._alphas = _alphas(cells)
        self._by_shape = _by_shape(cells)

    @classmethod
    def groups(
        cls, cells: Mapping[int, Cell], counts: Mapping[str, CountConfig], hinted: Sequence[int]
    ) -> Iterable[Self]:
        """One per rule."""
        by_rule: dict[Rule, dict[int, Cell]] = {}
        for number, cell in cells.items():
            assert cell.counts is not None
            by_rule.setdefault(Rule.of(cell, counts[cell.counts].orders), {})[number] = cell
        return [cls(rule, own, legacy=counts[rule.counts].estimator == "hashed") for rule, own in by_rule.items()]

    def tiles(self, unit: Prepared) -> Iterator[Tile]:
        """Yield p' at the matched targets."""
        served = self._served(unit)
        for weighed in self._weighed(served, partial(_sigmoid, unit, served)):
            yield from filled(weighed.cells, served.records, weighed.fill)

    def score(self, unit: Prepared, scores: Scores) -> None:
        """Enter losses and matches."""
        served = self._served(unit)
        for weighed in self._weighed(served, partial(_sigmoid, unit, served)):
            tiles = filled(weighed.cells, served.records, weighed.fill)
            scores.add(tiles, weighed.add, floor=FLOOR if self._legacy else 0.0)
        scores.loss_nats[self._cells] += served.unmatched_nats
        scores.matched[self._cells] = len(served.records)

    @classmethod
    def mass(cls, cell: Cell, orders: Sequence[int], sample: MassSample, entropy_nats: Float32Array) -> Float64Array:
        """(1 - a) + a·(sum of r) where matched, else 1."""
        rule = Rule.of(cell, orders)
        row_M = serving_rows(sample.context, np.array(rule.rows), rule.min_count)
        index_M = np.arange(len(row_M))
        served = _Served(0.0, index_M, np.ones(len(row_M)), sample.mass[row_M, index_M])
        alone = cls(rule, {0: cell}, legacy=not cell.normalized)
        (weighed,) = alone._weighed(served, partial(sigmoid_of_entropy, entropy_nats))
        mass_AM = np.empty((1, len(row_M)))
        weighed.fill(mass_AM, slice(None), slice(None))
        return np.where(row_M >= 0, mass_AM[0], 1.0)

    def _served(self, unit: Prepared) -> _Served:
        kept_T = unit.loss_T
        if self._legacy:
            # A legacy scorer clips what it does not mix as well.
            kept_T = unit.once("clipped", lambda: np.clip(unit.loss_T, 0.0, -np.log(FLOOR)))
        index_K, p_K, r_K = np.empty(len(unit), np.int64), np.empty(len(unit)), np.empty(len(unit))
        columns, rows = unit.counts(self._rule.counts), np.array(self._rule.rows)
        size, unmatched_nats = match(columns, rows, self._rule.min_count, unit.p_T, kept_T, index_K, p_K, r_K)
        return _Served(unmatched_nats, index_K[:size], p_K[:size], r_K[:size])

    def _weighed(self, served: _Served, sigmoid: Callable[[float, float], Float32Array]) -> Iterator[_Weighed]:
        """The cells by how their weights are told. sigmoid: slope and threshold -> σ at the served targets."""
        if self._alphas:
            alpha_A = np.array([*self._alphas.values()], np.float64)
            fill = partial(_constant, served, alpha_A, self._legacy)
            yield _Weighed(np.array([*self._alphas]), fill, add_losses_in_turn)
        if self._by_shape:
            for shape, cells in self._by_shape.items():
                base_A = np.array([cell.entropy_base for cell in cells.values()], np.float32)
                span_A = np.array([cell.entropy_range for cell in cells.values()], np.float32)
                fill = partial(_adaptive, served, sigmoid(*shape), base_A, span_A, self._legacy)
                yield _Weighed(np.array([*cells]), fill, add_losses)


def _alphas(cells: Mapping[int, Cell]) -> dict[int, float]:
    """The weights of cells that have one for all targets."""
    return {number: cell.alpha for number, cell in cells.items() if cell.alpha is not None}


def _by_shape(cells: Mapping[int, Cell]) -> dict[tuple[float, float], dict[int, Cell]]:
    """The cells whose weights follow the entropy, by its slope and threshold."""
    found: dict[tuple[float, float], dict[int, Cell]] = {}
    for number, cell in cells.items():
        if cell.alpha is None:
            assert cell.entropy_slope is not None
            assert cell.entropy_threshold_nats is not None
            found.setdefault((cell.entropy_slope, cell.entropy_threshold_nats), {})[number] = cell
    return found


def _constant(
    served: _Served, alpha_A: Float64Array, legacy: bool, out_AK: Float64Array, rows: slice, part: slice
) -> None:
    mix_constant(out_AK, served.p[part], served.r[part], alpha_A[rows], legacy)


def _adaptive(
    served: _Served,
    sigmoid_K: Float32Array,
    base_A: Float32Array,
    span_A: Float32Array,
    legacy: bool,
    out_AK: Float64Array,
    rows: slice,
    part: slice,
) -> None:
    mix_adaptive(out_AK, served.p[part], served.r[part], sigmoid_K[part], base_A[rows], span_A[rows], legacy)


def _sigmoid(unit: Prepared, served: _Served, slope: float, threshold_nats: float) -> Float32Array:
    entropy_T = unit.unit.entropy_nats
    sigmoid_T = unit.once((slope, threshold_nats), lambda: sigmoid_of_entropy(entropy_T, slope, threshold_nats))
    return sigmoid_T[served.records]
