"""The hint tilt: one token, proposed by the prefix alone, made likelier by b nats, and the rest scaled to make room.

p'(a) = p(a)·e^{b[a = h]} / Z, Z = 1 + p(h)·(e^b - 1). h is the token that most often followed the longest context which
was seen at least min_count times and which h followed in at least `confidence` of them; where there is none, p' = p.
Z is the exact sum of the numerators over the vocabulary, and h, b and Z depend on the prefix and the network's
distribution alone, so p' is a distribution: NORMALIZED. With gamma > 0 the tilt fades where the network knows the hint
already: b_t = b·(1 - p(h))^gamma.

How far back an occurrence must lie to propose a hint (#511: outside the window that the network reads) is a setting of
the hint stage.

All that enters a compiled function stands in this file (see `pgolf.mix.log_sums`).

Shapes: T records of a unit, K of them with a hint, O orders, A tilts.
Source: openai/parameter-golf PR #1514 and #2135 (tilt), #2129 (gamma), #511 (delay).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple, Self

import numba
import numpy as np
import numpy.typing as npt

from pgolf.counts.config import CountConfig
from pgolf.mix.mix_unit import CountArray, Float64Array, Hints, Prepared
from pgolf.mix.mixture import Int64Array, Mixture, Scores, Tile, filled
from pgolf.mix.product import Cell, Mixer

DEPTH = 16  # factors per logarithm: one is at most e^20, and 16 of them 1e139
LANES = 32
GROUP = DEPTH * LANES

BoolArray = npt.NDArray[np.bool_]


@numba.njit(nogil=True, cache=True)
def gained(is_target: bool, tilt: float) -> float:
    """Nats by which the target's numerator grows: ln(p'·Z / p)."""
    return tilt if is_target else 0.0


@numba.njit(nogil=True, cache=True)
def excess(p_hint: float, gain: float) -> float:
    """Z - 1. gain: e^tilt - 1."""
    return p_hint * gain


@numba.njit(nogil=True, cache=True)
def may_be_used(context: int, count: int, min_count: int, confidence: float) -> bool:
    """Whether a hint that came `count` times after a context seen `context` times is frequent and sure enough."""
    # As a product: 4/5 of a context seen 5 times reaches a confidence of 0.8 on every machine.
    return bool(context >= min_count and np.float64(count) >= confidence * np.float64(context))


@numba.njit(nogil=True, cache=True)
def match(
    context_OT: CountArray,
    count_OT: CountArray,
    is_target_OT: BoolArray,
    logp_OT: npt.NDArray[np.float32],
    row: int,
    min_count: int,
    confidence: float,
    index_K: Int64Array,
    logp_K: Float64Array,
    is_target_K: BoolArray,
) -> int:
    """Gather the targets that have a hint: their place, ln p(hint), and whether it is right; the longest order first,
    from `row` down. Returns how many.
    """
    size = 0
    for i in range(context_OT.shape[1]):
        for order in range(row, -1, -1):
            if may_be_used(context_OT[order, i], count_OT[order, i], min_count, confidence):
                index_K[size] = i
                logp_K[size] = min(np.float64(logp_OT[order, i]), 0.0)
                is_target_K[size] = is_target_OT[order, i]
                size += 1
                break
    return size


@numba.njit(nogil=True, cache=True)
def added_losses(
    q_K: Float64Array, is_target_K: BoolArray, fade_K: Float64Array, constant: bool, tilt_A: Float64Array
) -> Float64Array:
    """What tilts by tilt·fade add to the loss in nats, summed over K; constant: fade is 1 everywhere; [A]."""
    loss_A = np.zeros(len(tilt_A))
    product = np.empty(LANES)
    for a in range(len(tilt_A)):
        tilt = tilt_A[a]
        gain = math.expm1(tilt)
        if constant:
            right = 0
            for i in range(len(q_K)):
                right += is_target_K[i]
            loss_A[a] = -(right * gained(True, tilt) + (len(q_K) - right) * gained(False, tilt))
        else:
            for i in range(len(q_K)):
                loss_A[a] -= gained(is_target_K[i], tilt * fade_K[i])
        for first in range(0, len(q_K) - GROUP + 1, GROUP):
            for lane in range(LANES):
                product[lane] = 1.0
            for step in range(first, first + GROUP, LANES):
                for lane in range(LANES):
                    if not constant:
                        gain = math.expm1(tilt * fade_K[step + lane])
                    product[lane] *= 1.0 + excess(q_K[step + lane], gain)
            for lane in range(LANES):
                loss_A[a] += math.log(product[lane])
        for i in range(len(q_K) // GROUP * GROUP, len(q_K)):
            if not constant:
                gain = math.expm1(tilt * fade_K[i])
            loss_A[a] += math.log1p(excess(q_K[i], gain))
    return loss_A


@numba.njit(nogil=True, cache=True)
def mix(
    out_AK: Float64Array,
    p_K: Float64Array,
    q_K: Float64Array,
    is_target_K: BoolArray,
    fade_K: Float64Array,
    tilt_A: Float64Array,
) -> None:
    """p' of the targets."""
    for a in range(len(tilt_A)):
        for i in range(len(p_K)):
            tilt = tilt_A[a] * fade_K[i]
            lifted = p_K[i] * math.exp(gained(is_target_K[i], tilt))
            out_AK[a, i] = lifted / (1.0 + excess(q_K[i], math.expm1(tilt)))


@dataclass(frozen=True, slots=True)
class Rule:
    """Which hint serves which target: of the longest order up to `row` that is frequent and confident enough."""

    row: int
    min_count: int
    confidence: float


class _Hinted(NamedTuple):
    """The targets that have a hint: their place, p(hint), 1 - p(hint), and whether it is the target."""

    records: Int64Array
    q: Float64Array
    unsure: Float64Array
    is_target: BoolArray


class _Tilts(NamedTuple):
    """Cells of one gamma, by number, their tilts, and (1 - p(hint))^gamma; constant: it is 1 everywhere."""

    cells: Int64Array
    tilt: Float64Array
    fade: Float64Array
    constant: bool


class Tilt(Mixture):
    """The cells of one rule, by gamma."""

    mixers: ClassVar[frozenset[Mixer]] = frozenset({"tilt"})

    def __init__(self, rule: Rule, cells: Mapping[int, Cell]) -> None:
        self._rule, self._cells = rule, np.array([*cells])
        self._by_gamma: dict[float, dict[int, float]] = {}
        for number, cell in cells.items():
            assert cell.tilt_gamma is not None
            assert cell.tilt_nats is not None
            self._by_gamma.setdefault(cell.tilt_gamma, {})[number] = cell.tilt_nats

    @classmethod
    def groups(
        cls, cells: Mapping[int, Cell], counts: Mapping[str, CountConfig], hinted: Sequence[int]
    ) -> Iterable[Self]:
        """One per rule."""
        by_rule: dict[Rule, dict[int, Cell]] = {}
        for number, cell in cells.items():
            assert cell.order is not None
            assert cell.min_count is not None
            assert cell.tilt_confidence is not None
            rule = Rule(list(hinted).index(cell.order), cell.min_count, cell.tilt_confidence)
            by_rule.setdefault(rule, {})[number] = cell
        return [cls(rule, own) for rule, own in by_rule.items()]

    def tiles(self, unit: Prepared) -> Iterator[Tile]:
        """Yield p' at the targets that have a hint."""
        hinted = self._hinted(unit)
        for tilts in self._tilts(hinted):
            yield from filled(tilts.cells, hinted.records, partial(_fill, unit.p_T[hinted.records], hinted, tilts))

    def score(self, unit: Prepared, scores: Scores) -> None:
        """Enter losses and matches; a tilt adds to the network's loss, so none is too large for it."""
        hinted = self._hinted(unit)
        for cell_A, tilt_A, fade_K, constant in self._tilts(hinted):
            added_A = added_losses(hinted.q, hinted.is_target, fade_K, constant, tilt_A)
            scores.loss_nats[cell_A] = unit.loss_T.sum() + added_A
        scores.matched[self._cells] = len(hinted.records)

    def _hinted(self, unit: Prepared) -> _Hinted:
        hints = unit.unit.hints
        assert hints is not None
        columns = unit.once("hints", lambda: _stacked(hints))
        index_K, logp_K, is_target_K = np.empty(len(unit), np.int64), np.empty(len(unit)), np.empty(len(unit), np.bool_)
        rule = self._rule
        size = match(*columns, rule.row, rule.min_count, rule.confidence, index_K, logp_K, is_target_K)
        logp_K = logp_K[:size]
        return _Hinted(index_K[:size], np.exp(logp_K), -np.expm1(logp_K), is_target_K[:size])

    def _tilts(self, hinted: _Hinted) -> Iterator[_Tilts]:
        for gamma, cells in self._by_gamma.items():
            tilt_A = np.array([*cells.values()])
            yield _Tilts(np.array([*cells]), tilt_A, hinted.unsure**gamma, constant=gamma == 0.0)


def _stacked(hints: Hints) -> tuple[CountArray, CountArray, BoolArray, npt.NDArray[np.float32]]:
    """The columns of the hints, [O, T] each."""
    return np.stack(hints.context), np.stack(hints.count), np.stack(hints.is_target), np.stack(hints.logp)


def _fill(p_K: Float64Array, hinted: _Hinted, tilts: _Tilts, out_AK: Float64Array, rows: slice, part: slice) -> None:
    mix(out_AK, p_K[part], hinted.q[part], hinted.is_target[part], tilts.fade[part], tilts.tilt[rows])
