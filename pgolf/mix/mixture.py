"""The interface of a mixture: its probabilities in tiles, from which losses, members and mass follow.

One file per mixture defines its probability of one target, once, as a compiled function. Tiles of it are summed to
losses, handed to Bayes and fixed-share mixtures as their members', and taken at (p, r) = (1, sum of r) for the mass.

Every mixture is affine in the network's probability p of the target: p' = u·p + v, where u is p' for p = 1 and counts
that have never seen the target, and v is p' for p = 0. So `exact_losses` needs nothing of its own from a mixture.

Shapes: A cells of a tile, K records of a tile, T records of a unit, C cells, M sampled records.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pgolf.counts.config import CountConfig
from pgolf.counts.mass import MassSample
from pgolf.mix.log_sums import LEAST_PROBABILITY, TILE, AddLosses, scatter, tile_parts
from pgolf.mix.mix_unit import Float64Array, Prepared, Unit
from pgolf.mix.product import Cell, Mixer

FLOOR = 1e-12  # published: the least p' of a legacy mixture

Int64Array = npt.NDArray[np.int64]


class Tile(NamedTuple):
    """p' of some cells, by number, at some records, by place in the unit; p: [A, K], valid until the next tile."""

    cells: Int64Array
    records: Int64Array
    p: Float64Array


@dataclass(frozen=True, slots=True)
class Scores:
    """Per cell of a grid, what one unit comes to: loss in nats, and how many targets had an estimate to mix in.

    left_out: pairs of (cells, records) whose probability is too small to take the logarithm of.
    """

    loss_nats: Float64Array
    matched: Int64Array
    left_out: list[tuple[Int64Array, Int64Array]] = field(default_factory=list)

    def add(self, tiles: Iterable[Tile], add: AddLosses, *, floor: float = 0.0) -> None:
        """Add the tiles' losses to those of their cells. floor: the least p', where a legacy mixture has one."""
        for cell_A, record_K, p_AK in tiles:
            loss_A = self.loss_nats[cell_A]
            if add(loss_A, p_AK, floor):
                row, column = np.nonzero(p_AK < LEAST_PROBABILITY)
                self.left_out.append((cell_A[row], record_K[column]))
            self.loss_nats[cell_A] = loss_A


class Mixture(ABC):
    """Cells of one kind that share work, by their number in a grid."""

    mixers: ClassVar[frozenset[Mixer]]

    @classmethod
    @abstractmethod
    def groups(
        cls, cells: Mapping[int, Cell], counts: Mapping[str, CountConfig], hinted: Sequence[int]
    ) -> Iterable[Self]:
        """Sort cells of these mixers by the work they share. hinted: orders of the hints."""

    @abstractmethod
    def tiles(self, unit: Prepared) -> Iterator[Tile]:
        """Yield p' wherever it is not the network's p; no two tiles have a cell and a record in common."""

    @abstractmethod
    def score(self, unit: Prepared, scores: Scores) -> None:
        """Enter the cells' losses and matches, both 0 before."""

    @classmethod
    def mass(
        cls, cell: Cell, orders: Sequence[int], sample: MassSample, entropy_nats: npt.NDArray[np.float32]
    ) -> Float64Array:
        """Total that a cell hands out over the vocabulary at the sampled records, [M]; 1 for a distribution.

        A legacy mixture's floor, at most 1e-12 a token, is left out.
        """
        return np.ones(len(sample.record))


def filled(
    cell_A: Int64Array, record_K: Int64Array, fill: Callable[[Float64Array, slice, slice], None], *, step: int = 1
) -> Iterator[Tile]:
    """Yield p' of the cells at the records; fill(out, rows, part) writes that of some of the cells at some of them.

    step: as for `tile_parts`.
    """
    buffer = np.empty(TILE)
    for rows, part in tile_parts(len(cell_A), len(record_K), step=step):
        shape = (rows.stop - rows.start, part.stop - part.start)
        p_AK = buffer[: shape[0] * shape[1]].reshape(shape)
        fill(p_AK, rows, part)
        yield Tile(cell_A[rows], record_K[part], p_AK)


def probabilities(mixtures: Iterable[Mixture], unit: Unit, columns: int) -> Float64Array:
    """p' of every cell at every record, [T, columns]; a cell that no mixture has is the network."""
    ready = Prepared(unit)
    out_TP: Float64Array = np.repeat(ready.p_T[:, None], columns, axis=1)
    for mixture in mixtures:
        for cell_A, record_K, p_AK in mixture.tiles(ready):
            scatter(out_TP, record_K, cell_A, p_AK)
    return out_TP


def exact_losses(mixtures: Sequence[Mixture], unit: Unit, columns: int) -> Float64Array:
    """-ln p' of every cell at every record, [T, columns], however small p' is; without a floor.

    -ln(u·e^-loss + v) with the largest term outside the sum: finite for every finite loss of the network.
    """
    unseen = {name: [*columns_[: len(columns_) // 2], *_zeros(columns_)] for name, columns_ in unit.counts.items()}
    factor_TP = probabilities(mixtures, replace(unit, loss_nats=np.zeros_like(unit.loss_nats), counts=unseen), columns)
    rest_TP = probabilities(mixtures, replace(unit, loss_nats=np.full_like(unit.loss_nats, np.inf)), columns)
    with np.errstate(divide="ignore"):  # ln 0 is -inf, as it should be
        log_TP = np.logaddexp(np.log(factor_TP) - unit.loss_nats.astype(np.float64)[:, None], np.log(rest_TP))
    return np.negative(log_TP, dtype=np.float64)


def _zeros(columns: Sequence[npt.NDArray[np.uint32]]) -> list[npt.NDArray[np.uint32]]:
    return [np.zeros_like(full_T) for full_T in columns[len(columns) // 2 :]]
