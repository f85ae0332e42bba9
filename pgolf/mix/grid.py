"""Score a whole grid of mixtures in one pass over trace, counts and hints, in bounded memory and on all cores.

Cells that agree on which order serves which target share that work: a rule (counts, orders to try, min_count) picks the
targets that have an estimate once, and every weight then runs over those few. A Dirichlet point passes every shorter
order on its way, so these cost their logarithms alone. What a mixture is stands in its own file; here they are told
their cells, and their probabilities are summed or followed.

Fixed-share and chunked mixtures need the targets one after the other: their members' probabilities are made in slices,
many at a time and on all cores, and taken in order. Bayes mixtures that are updated after every target need the
members' totals alone.

Sums run in a fixed order (unit by unit of UNIT_RECORDS, whatever thread took which), so threads change no bit, and a
run that goes on after a unit ends with the same bits as one that was never interrupted.

A finite loss of the network gives finite losses of all normalized mixtures. Where a probability is too small for a
double, e^-690 or less, the target is scored from logarithms, in sums and for followed mixtures alike.

Shapes: T records of a unit, H of them scored from logarithms, K members, P columns of members.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from pgolf.counts.config import CountConfig
from pgolf.machine.in_order import in_order
from pgolf.mix.bayes import Sharing, bayes_loss, bayes_shares, padded
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.dirichlet import Dirichlet
from pgolf.mix.interpolation import Interpolation
from pgolf.mix.log_sums import LEAST_PROBABILITY
from pgolf.mix.mix_unit import Float64Array, Hints, Prepared, Unit
from pgolf.mix.mixture import Mixture, Scores, exact_losses, probabilities
from pgolf.mix.product import Cell
from pgolf.mix.tilt import Tilt

__all__ = ["MIXTURES", "UNIT_RECORDS", "Grid", "Hints", "Mixed", "Totals", "Unit"]

# A new mixture is named here.
MIXTURES: tuple[type[Mixture], ...] = (Interpolation, Dirichlet, Tilt)

# Records one thread takes at a time: its work arrays stay within a core's second-level cache.
UNIT_RECORDS = 1 << 15

# Probabilities of members made at a time, per thread: 16 MiB.
SLICE_PROBABILITIES = 1 << 21


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


class _Work:
    """Cells sorted by the work they share; `cells` maps their number (of a total, of a column) to the cell."""

    def __init__(self, cells: Mapping[int, Cell], counts: Mapping[str, CountConfig], hinted: Sequence[int]) -> None:
        self.size = len(cells)
        self.network = [number for number, cell in cells.items() if cell.mixer is None]
        self.mixtures: list[Mixture] = []
        for kind in MIXTURES:
            own = {number: cell for number, cell in cells.items() if cell.mixer in kind.mixers}
            self.mixtures += kind.groups(own, counts, hinted)

    def scores(self, unit: Unit) -> Scores:
        """Loss in nats and matched targets of every cell over one unit."""
        scores = Scores(np.zeros(self.size), np.zeros(self.size, np.int64))
        ready = Prepared(unit)
        scores.loss_nats[self.network] = ready.loss_T.sum()
        for mixture in self.mixtures:
            mixture.score(ready, scores)
        if scores.left_out:
            self._add_left_out(unit, scores)
        return scores

    def _add_left_out(self, unit: Unit, scores: Scores) -> None:
        cell_N, record_N = (np.concatenate(parts) for parts in zip(*scores.left_out, strict=True))
        record_H, row_N = np.unique(record_N, return_inverse=True)
        size = _slice_records(self.size)
        for first in range(0, len(record_H), size):
            loss_HC = exact_losses(self.mixtures, unit.part(record_H[first : first + size]), self.size)
            here = (row_N >= first) & (row_N < first + size)
            np.add.at(scores.loss_nats, cell_N[here], loss_HC[row_N[here] - first, cell_N[here]])


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
            yield from self._slices(unit)
            yield partial(self._unit, unit, after_unit)

    def _slices(self, unit: Unit) -> Iterator[Callable[[], Callable[[], None]]]:
        """The steps of mixtures that are followed from target to target."""
        for work, sharings in self._followed:
            columns = padded(work.size)
            records = _slice_records(columns)
            for first in range(0, len(unit), records):
                yield partial(_slice, unit.part(slice(first, first + records)), work, sharings, columns)

    def _unit(self, unit: Unit, after_unit: Callable[[Unit], None]) -> Callable[[], None]:
        scores = self._work.scores(unit)

        def take() -> None:
            self._loss_nats += scores.loss_nats
            self._matched += scores.matched
            after_unit(unit)

        return take


def _slice_records(columns: int) -> int:
    """How many records have their probabilities made at a time."""
    return max(1, SLICE_PROBABILITIES // columns)


def _slice(unit: Unit, work: _Work, sharings: Sequence[Sharing], columns: int) -> Callable[[], None]:
    probability_TP = probabilities(work.mixtures, unit, columns)
    hard: dict[int, Float64Array] = {}
    if probability_TP.min() < LEAST_PROBABILITY:
        hard_H = np.flatnonzero(probability_TP.min(axis=1) < LEAST_PROBABILITY)
        hard = dict(zip(hard_H.tolist(), exact_losses(work.mixtures, unit.part(hard_H), work.size)))

    def take() -> None:
        for sharing in sharings:
            sharing.add(probability_TP, hard)

    return take
