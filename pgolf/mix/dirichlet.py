"""The Dirichlet recursion: each order's counts smoothed by the order below, the network at the bottom.

p_n(a) = (c(context_n, a) + k·p_{n-1}(a)) / (c(context_n) + k), p_0 the network's distribution, over the counted orders
up to n, ascending. A context that was never seen leaves p_{n-1} as it is. k, the concentration, says how many
occurrences the order below is worth: k -> 0 gives the longest seen context's frequencies, k -> infinity the network.

NORMALIZED with exact counts: c(context, a) sums to c(context) over the vocabulary, so by induction p_n sums to 1, and
the target's p_n needs the counts of the target alone.

LEGACY with hashed tables: the same formula over two tables that do not agree is #900's published scorer, which is no
distribution. It is offered all the same, with full counts cut at the context's and the published floor, because its
mass can be told exactly beside its score: M_n = (c·S_n + k·M_{n-1}) / (c + k), S_n the sum of min(full, c)/c over the
vocabulary, which the count stage samples.

All that enters a compiled function stands in this file (see `pgolf.mix.log_sums`).

Shapes: T records of a unit, O orders ascending, R rows (concentration and order), G a group of records.
Source: MacKay and Peto 1995; openai/parameter-golf PR #900.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar, Self

import numba
import numpy as np
import numpy.typing as npt

from pgolf.counts.config import CountConfig
from pgolf.counts.mass import MassSample
from pgolf.mix.log_sums import add_losses
from pgolf.mix.mix_unit import Float64Array, Prepared
from pgolf.mix.mixture import FLOOR, Int64Array, Mixture, Scores, Tile, filled
from pgolf.mix.product import Cell, Mixer

GROUP = 512  # records that go through all orders together: their counts stay near the core


@numba.njit(nogil=True, cache=True, error_model="numpy")  # a check for zero is no vector code
def smoothed(p: float, full: float, context: float, concentration: float) -> float:
    """p_n of one target, from p_{n-1}; full: at most context."""
    mixed = (full + concentration * p) / (context + concentration)
    return mixed if context > 0.0 else p


@numba.njit(nogil=True, cache=True, error_model="numpy")  # a check for zero is no vector code
def recurse(
    out_RK: Float64Array,
    first: int,
    context_OT: Float64Array,
    full_OT: Float64Array,
    p_T: Float64Array,
    concentration_R: Float64Array,
    order_R: Int64Array,
) -> None:
    """p_n of the targets from `first` on, up to each row's order.

    A row whose concentration is that of the row before goes on from there: it must have a longer order.
    """
    mixed_G = np.empty(GROUP)
    for begin in range(0, out_RK.shape[1], GROUP):
        size = min(GROUP, out_RK.shape[1] - begin)
        # Slices, because an index that could be negative is no vector code.
        part = slice(first + begin, first + begin + size)
        p_G = p_T[part]
        order = 0
        for row in range(len(order_R)):
            k = concentration_R[row]
            if row == 0 or k != concentration_R[row - 1]:
                order = 0
                for i in range(size):
                    mixed_G[i] = p_G[i]
            while order <= order_R[row]:
                full_G = full_OT[order, part]
                context_G = context_OT[order, part]
                for i in range(size):
                    mixed_G[i] = smoothed(mixed_G[i], full_G[i], context_G[i], k)
                order += 1
            out_G = out_RK[row, begin : begin + size]
            for i in range(size):
                out_G[i] = mixed_G[i]


class Dirichlet(Mixture):
    """The cells of one count stage: every order passes on the way to the longer ones."""

    mixers: ClassVar[frozenset[Mixer]] = frozenset({"dirichlet"})

    def __init__(self, counts: str, cells: Mapping[int, Cell], orders: Sequence[int], *, legacy: bool) -> None:
        self._counts, self._legacy = counts, legacy
        rows = []
        for number, cell in cells.items():
            assert cell.concentration is not None
            assert cell.order is not None
            rows.append((cell.concentration, list(orders).index(cell.order), number))
        rows.sort()
        self._concentration_R = np.array([concentration for concentration, _, _ in rows])
        self._order_R = np.array([order for _, order, _ in rows])
        self._cell_R = np.array([number for _, _, number in rows])
        # As many as a concentration has orders: tiles that end with it do no work twice.
        self._step = int(np.unique(self._concentration_R, return_counts=True)[1].max())

    @classmethod
    def groups(
        cls, cells: Mapping[int, Cell], counts: Mapping[str, CountConfig], hinted: Sequence[int]
    ) -> Iterable[Self]:
        """One per count stage."""
        by_counts: dict[str, dict[int, Cell]] = {}
        for number, cell in cells.items():
            assert cell.counts is not None
            by_counts.setdefault(cell.counts, {})[number] = cell
        return [
            cls(name, own, counts[name].orders, legacy=counts[name].estimator == "hashed")
            for name, own in by_counts.items()
        ]

    def tiles(self, unit: Prepared) -> Iterator[Tile]:
        """Yield p' at all targets."""
        fill = partial(self._fill, unit.p_T, *self._doubles(unit))
        yield from filled(self._cell_R, unit.place_T, fill, step=self._step)

    def score(self, unit: Prepared, scores: Scores) -> None:
        """Enter losses and matches."""
        scores.add(self.tiles(unit), add_losses, floor=FLOOR if self._legacy else 0.0)
        context_OT, _ = self._doubles(unit)
        seen_O = np.logical_or.accumulate(context_OT > 0).sum(axis=1)
        scores.matched[self._cell_R] = seen_O[self._order_R]

    @classmethod
    def mass(
        cls, cell: Cell, orders: Sequence[int], sample: MassSample, entropy_nats: npt.NDArray[np.float32]
    ) -> Float64Array:
        """The recursion over the summed estimates, from 1."""
        alone = cls("", {0: cell}, orders, legacy=not cell.normalized)
        context_OM = sample.context.astype(np.float64)
        mass_RM: Float64Array = np.empty((1, context_OM.shape[1]))
        alone._fill(
            np.ones(mass_RM.shape[1]), context_OM, context_OM * sample.mass, mass_RM, slice(0, 1), slice(0, None)
        )
        mass_M: Float64Array = mass_RM[0]
        return mass_M

    def _doubles(self, unit: Prepared) -> tuple[Float64Array, Float64Array]:
        """Context and full counts, full cut at context; [O, T] each."""

        def made() -> tuple[Float64Array, Float64Array]:
            context_OT, full_OT = np.split(unit.counts(self._counts), 2)
            return context_OT.astype(np.float64), np.minimum(full_OT, context_OT).astype(np.float64)

        return unit.once(("doubles", self._counts), made)

    def _fill(
        self,
        p_T: Float64Array,
        context_OT: Float64Array,
        full_OT: Float64Array,
        out_RK: Float64Array,
        rows: slice,
        part: slice,
    ) -> None:
        recurse(out_RK, part.start, context_OT, full_OT, p_T, self._concentration_R[rows], self._order_R[rows])
