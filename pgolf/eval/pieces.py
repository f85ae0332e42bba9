"""Pieces of a trace, one per batch, and the file in which each rank stores its own until they are merged.

A rank that learns between chunks does not score one contiguous range, so every piece stores its first record; merged by
first record, the pieces of all ranks form the trace.

File, little-endian: per piece int64 first_record, columns C, records R, 1 if a mean follows else 0; the mean as six
int64 and two float64; then float32 [C, R].
"""

import heapq
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pgolf.eval.batch_means import BatchMean
from pgolf.eval.trace import Trace
from pgolf.eval.windows import WindowPlan

PIECES_FILE = "pieces-{rank}.bin"

_HEADER = struct.Struct("<4q")
_MEAN = struct.Struct("<6q2d")


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive records from `first_record` on. columns: float32 [2 + hint orders, R]: losses, entropies, hints."""

    first_record: int
    columns: npt.NDArray[np.float32]
    mean: BatchMean | None = None

    def __len__(self) -> int:
        return int(self.columns.shape[1])

    def trace(self, plan: WindowPlan, hint_orders: Sequence[int] = ()) -> Trace:
        """The piece as trace rows, with targets."""
        targets = plan.targets_of_records(self.first_record, self.first_record + len(self))
        return Trace.of([targets, *self.columns], hint_orders)


def write_pieces(path: Path, pieces: Iterable[Piece]) -> None:
    """Write pieces as they are produced."""
    with path.open("wb") as file:
        for piece in pieces:
            rows, records = piece.columns.shape
            file.write(_HEADER.pack(piece.first_record, rows, records, piece.mean is not None))
            if piece.mean is not None:
                file.write(_MEAN.pack(*astuple(piece.mean)))
            file.write(np.ascontiguousarray(piece.columns, dtype="<f4").data)


def read_pieces(path: Path) -> Iterator[Piece]:
    """Read the pieces of one rank."""
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            first_record, rows, records, has_mean = _HEADER.unpack(header)
            mean = BatchMean(*_MEAN.unpack(file.read(_MEAN.size))) if has_mean else None
            columns = np.frombuffer(file.read(4 * rows * records), dtype="<f4").reshape(rows, records)
            yield Piece(first_record, columns, mean)


def merged_pieces(folder: Path, ranks: int) -> Iterator[Piece]:
    """Merge the pieces of all ranks into trace order; holds one piece per rank in memory."""
    own = [read_pieces(folder / PIECES_FILE.format(rank=rank)) for rank in range(ranks)]
    return heapq.merge(*own, key=lambda piece: piece.first_record)
