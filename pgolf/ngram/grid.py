"""A whole grid of mixtures in one pass over trace and counts, in bounded memory and on all cores.

Cells that agree on which order serves which target share that work: a *rule* (counts, orders to try, min_count) picks
the targets that have an estimate once, and every weight then runs over those few. Each weight costs three
multiplications, an addition and a maximum per target; logarithms are taken of products of 16.

Why that is exact enough. With at most 16 factors in [1e-12, 1] (legacy) a product is at least 1e-192, far from the
smallest double, 2e-308, and its relative error at most 16 roundings, 2e-15: an error of 2e-15 nats for 16 targets.
Factors of a normalized mixture have no such floor. Every factor is at most 1, up to a rounding, so a product only
falls: one that ends above 1e-290 was never below it, and one that ends below is taken again, target by target.

Sums run in a fixed order (unit by unit of UNIT_RECORDS, whatever thread took which), so threads change no bit.

Shapes: T records of a unit, K of them matched by a rule, O orders, A weights.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt

from pgolf.errors import ConfigError
from pgolf.in_order import in_order
from pgolf.ngram.config import CountConfig
from pgolf.ngram.mix import FLOOR, LEAST_KEPT, legacy_weights, normalized_weights, sigmoid_of_entropy
from pgolf.ngram.mix_config import MixConfig, Mixer

# Records one thread takes at a time: its work arrays stay within a core's second-level cache.
UNIT_RECORDS = 1 << 15

DEPTH = 16  # factors per logarithm; 1e-12 ** 16 is far from underflow
LANES = 32  # products that grow side by side, so that the loop over them is vector code
GROUP = DEPTH * LANES
LEAST_PRODUCT = 1e-290

Estimator = Literal["neural", "hashed", "exact"]
Scores = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One scorer: the network alone, or one mixture of it with one count stage's n-grams."""

    estimator: Estimator
    counts: str | None = None
    mixer: Mixer | None = None
    order: int | None = None
    min_count: int | None = None
    alpha: float | None = None
    entropy_base: float | None = None
    entropy_range: float | None = None
    entropy_slope: float | None = None
    entropy_threshold_nats: float | None = None

    @property
    def normalized(self) -> bool:
        """Whether the scorer gives a distribution over the vocabulary: all but the hashed tables do."""
        return self.estimator != "hashed"


@dataclass(frozen=True, slots=True)
class Rule:
    """Which order serves which target: the first of `rows` (rows of the count columns) seen min_count times."""

    counts: str
    rows: tuple[int, ...]
    min_count: int


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive records with everything a cell can need: the trace's two numbers and each count stage's columns."""

    loss_nats: npt.NDArray[np.float32]
    entropy_nats: npt.NDArray[np.float32]
    counts: Mapping[str, Sequence[npt.NDArray[np.uint32]]]


@dataclass(frozen=True, slots=True)
class Totals:
    """Per cell: loss in nats summed over all records, and how many of them had an estimate to mix in."""

    loss_nats: npt.NDArray[np.float64]
    matched: npt.NDArray[np.int64]


def cells_of(config: MixConfig, counts: Mapping[str, CountConfig]) -> list[Cell]:
    """The grid, the network alone first; then by count stage (sorted by name), mixer, order and the mixer's values.

    Raises ConfigError for an order that a count stage has not counted.
    """
    cells = [Cell(estimator="neural")]
    for name in sorted(counts):
        counted = counts[name].orders
        orders = counted if config.orders is None else config.orders
        if missing := [order for order in orders if order not in counted]:
            raise ConfigError(
                f"the grid asks for order {', '.join(map(str, missing))}, but counts {name!r} hold "
                f"{', '.join(map(str, counted))}; count them too, or leave them out of the grid"
            )
        for mixer in config.mixers:
            for order in orders:
                for min_count in config.min_counts:
                    cell = Cell(
                        estimator=counts[name].estimator, counts=name, mixer=mixer, order=order, min_count=min_count
                    )
                    cells += _weighted(cell, config)
    return cells


def _weighted(cell: Cell, config: MixConfig) -> list[Cell]:
    if cell.mixer != "adaptive":
        return [replace(cell, alpha=alpha) for alpha in config.alphas]
    return [
        replace(cell, entropy_base=base, entropy_range=span, entropy_slope=slope, entropy_threshold_nats=threshold)
        for slope in config.entropy_slopes
        for threshold in config.entropy_thresholds
        for base in config.entropy_bases
        for span in config.entropy_ranges
    ]


def rule_of(cell: Cell, orders: Sequence[int]) -> Rule:
    """Which orders a mixture tries, as rows of its count stage's columns (`orders`, ascending)."""
    assert cell.counts is not None
    assert cell.order is not None
    assert cell.min_count is not None
    row = list(orders).index(cell.order)
    rows = (row,) if cell.mixer == "fixed" else tuple(range(row, -1, -1))
    return Rule(cell.counts, rows, cell.min_count)


class Grid:
    """The cells sorted by the work they share, ready to run over records."""

    def __init__(self, cells: Sequence[Cell], counts: Mapping[str, CountConfig]) -> None:
        self.cells = tuple(cells)
        self._legacy = {name: config.estimator == "hashed" for name, config in counts.items()}
        self._neural = np.array([k for k, cell in enumerate(cells) if cell.counts is None], np.int64)
        # rule -> what its cells are, by number: constant weights, and adaptive ones by (slope, threshold).
        self._constant: dict[Rule, list[int]] = {}
        self._adaptive: dict[Rule, dict[tuple[float, float], list[int]]] = {}
        self._rules: dict[Rule, list[int]] = {}
        for number, cell in enumerate(cells):
            if cell.counts is None:
                continue
            rule = rule_of(cell, counts[cell.counts].orders)
            self._rules.setdefault(rule, []).append(number)
            if cell.alpha is not None:
                self._constant.setdefault(rule, []).append(number)
            else:
                assert cell.entropy_slope is not None
                assert cell.entropy_threshold_nats is not None
                shape = (cell.entropy_slope, cell.entropy_threshold_nats)
                self._adaptive.setdefault(rule, {}).setdefault(shape, []).append(number)

    def run(self, units: Iterable[Unit], *, threads: int = 1) -> Totals:
        """Score all cells over all units; the result does not depend on `threads`."""
        loss_nats = np.zeros(len(self.cells))
        matched = np.zeros(len(self.cells), np.int64)
        with ThreadPoolExecutor(max_workers=threads) as pool:
            for unit_loss_nats, unit_matched in in_order(pool, self._score, units, ahead=2 * threads):
                loss_nats += unit_loss_nats
                matched += unit_matched
        return Totals(loss_nats, matched)

    def _score(self, unit: Unit) -> Scores:
        """Loss in nats and matched targets of every cell over one unit."""
        loss_nats = np.zeros(len(self.cells))
        matched = np.zeros(len(self.cells), np.int64)
        loss_T = unit.loss_nats.astype(np.float64)
        p_T = np.exp(-loss_T)
        loss_nats[self._neural] = loss_T.sum()
        # A legacy scorer clips what it does not mix as well.
        kept_T = {True: np.clip(loss_T, 0.0, -np.log(FLOOR)), False: loss_T}
        columns = {name: np.stack(unit.counts[name]) for name in unit.counts}
        sigmoid_T: dict[tuple[float, float], npt.NDArray[np.float32]] = {}
        index_K = np.empty(len(p_T), np.int64)
        p_K = np.empty(len(p_T))
        r_K = np.empty(len(p_T))
        for rule, numbers in self._rules.items():
            legacy = self._legacy[rule.counts]
            rows = np.array(rule.rows, np.int64)
            size, unmatched_nats = _match(
                columns[rule.counts], rows, rule.min_count, p_T, kept_T[legacy], index_K, p_K, r_K
            )
            loss_nats[numbers] = unmatched_nats
            matched[numbers] = size
            floor = FLOOR if legacy else 0.0
            if constant := self._constant.get(rule):
                loss_nats[constant] += _constant_loss(p_K[:size], r_K[:size], *self._weights(constant, legacy), floor)
            for shape, adaptive in self._adaptive.get(rule, {}).items():
                if shape not in sigmoid_T:
                    sigmoid_T[shape] = sigmoid_of_entropy(unit.entropy_nats, *shape)
                loss_nats[adaptive] += _adaptive_loss(
                    p_K[:size],
                    r_K[:size],
                    sigmoid_T[shape][index_K[:size]],
                    np.array([self.cells[k].entropy_base for k in adaptive], np.float32),
                    np.array([self.cells[k].entropy_range for k in adaptive], np.float32),
                    legacy,
                    floor,
                    LEAST_KEPT,
                )
        return loss_nats, matched

    def _weights(self, numbers: Sequence[int], legacy: bool) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Weights of the network and of the estimate, for cells with a constant alpha; [A] each."""
        alpha_A = np.array([self.cells[k].alpha for k in numbers], np.float64)
        return legacy_weights(alpha_A) if legacy else normalized_weights(alpha_A)


@numba.njit(nogil=True, cache=True)
def _match(
    columns: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    min_count: int,
    p_T: npt.NDArray[np.float64],
    kept_T: npt.NDArray[np.float64],
    index_K: npt.NDArray[np.int64],
    p_K: npt.NDArray[np.float64],
    r_K: npt.NDArray[np.float64],
) -> tuple[int, float]:
    """Gather the targets a rule matches: their place, p and estimate r; and sum the loss of all others.

    columns: context counts by order, then full counts by order, [2·O, T]. rows: orders to try, the first match serves.
    """
    orders = len(columns) // 2
    size = 0
    unmatched_nats = 0.0
    for i in range(len(p_T)):
        matched = False
        for row in rows:
            context = columns[row, i]
            if context >= min_count:
                index_K[size] = i
                p_K[size] = p_T[i]
                r_K[size] = np.float64(min(columns[orders + row, i], context)) / np.float64(context)
                size += 1
                matched = True
                break
        if not matched:
            unmatched_nats += kept_T[i]
    return size, unmatched_nats


@numba.njit(nogil=True, cache=True)
def _constant_loss(
    p_K: npt.NDArray[np.float64],
    r_K: npt.NDArray[np.float64],
    network_A: npt.NDArray[np.float64],
    ngram_A: npt.NDArray[np.float64],
    floor: float,
) -> npt.NDArray[np.float64]:
    """Loss in nats of max(network·p + ngram·r, floor), summed over K, for each of A pairs of weights."""
    loss_A = np.zeros(len(ngram_A))
    product = np.empty(LANES)
    for first in range(0, len(p_K) - GROUP + 1, GROUP):
        for a in range(len(ngram_A)):
            network = network_A[a]
            ngram = ngram_A[a]
            for lane in range(LANES):
                product[lane] = 1.0
            for step in range(first, first + GROUP, LANES):
                for lane in range(LANES):
                    mixed = network * p_K[step + lane] + ngram * r_K[step + lane]
                    product[lane] *= mixed if mixed > floor else floor
            for lane in range(LANES):
                if product[lane] > LEAST_PRODUCT:
                    loss_A[a] -= math.log(product[lane])
                else:
                    for i in range(first + lane, first + GROUP, LANES):
                        loss_A[a] -= math.log(max(network * p_K[i] + ngram * r_K[i], floor))
    for a in range(len(ngram_A)):
        for i in range(len(p_K) // GROUP * GROUP, len(p_K)):
            loss_A[a] -= math.log(max(network_A[a] * p_K[i] + ngram_A[a] * r_K[i], floor))
    return loss_A


@numba.njit(nogil=True, cache=True)
def _adaptive_loss(
    p_K: npt.NDArray[np.float64],
    r_K: npt.NDArray[np.float64],
    sigmoid_K: npt.NDArray[np.float32],
    base_A: npt.NDArray[np.float32],
    span_A: npt.NDArray[np.float32],
    legacy: bool,
    floor: float,
    least_kept: float,
) -> npt.NDArray[np.float64]:
    """As _constant_loss, with weight base + span·σ of each target, as `pgolf.ngram.mix` takes it.

    floor and least_kept are arguments: numba keeps compiled code by this file's own time, with their old values in it.
    """
    loss_A = np.zeros(len(base_A))
    mixed_G = np.empty(GROUP)
    for first in range(0, len(p_K), GROUP):
        size = min(GROUP, len(p_K) - first)
        for a in range(len(base_A)):
            for k in range(size):
                alpha = base_A[a] + span_A[a] * sigmoid_K[first + k]
                if legacy:
                    ngram = np.float64(alpha)
                    network = np.float64(np.float32(1.0) - alpha)
                else:
                    ngram = np.float64(min(np.float64(alpha), 1.0 - least_kept))
                    network = np.float64(1.0 - ngram)
                mixed_G[k] = max(network * p_K[first + k] + ngram * r_K[first + k], floor)
            loss_A[a] += _product_loss(mixed_G, size)
    return loss_A


@numba.njit(nogil=True, cache=True)
def _product_loss(mixed_G: npt.NDArray[np.float64], size: int) -> float:
    """-ln of the product of the first `size` factors, each in (0, 1]."""
    loss = 0.0
    for lane in range(LANES):
        product = 1.0
        for i in range(lane, size, LANES):
            product *= mixed_G[i]
        if product > LEAST_PRODUCT:
            loss -= math.log(product)
        else:
            for i in range(lane, size, LANES):
                loss -= math.log(mixed_G[i])
    return loss
