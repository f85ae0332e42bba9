"""Probability mass of an n-gram estimate: the sum of r(v) over the vocabulary, at a sample of the records.

An estimate that is a distribution sums to 1 after every context it has seen. The hashed tables' sum is what their
mixtures add to each probability without its being there: a mixture with weight a has mass (1 - a) + a·(sum of r).

mass.arrow, Arrow IPC: `record` int64, and per order n `context_<n>` uint32 and `mass_<n>` float64.
Shapes: M sampled records, O orders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.eval.arrow_file import ArrowFile

MASS_FILE = "mass.arrow"

# At most this many records, evenly spread: the mean's standard error is then below 2 % of the records' own spread.
SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class MassSample:
    """At each sampled record, per order: the context's count, and the sum of the estimate over the vocabulary."""

    record: npt.NDArray[np.int64]
    context: npt.NDArray[np.uint32]
    mass: npt.NDArray[np.float64]


def sampled_records(records: int) -> npt.NDArray[np.int64]:
    """The records whose mass is taken, evenly spread over all `records`; ascending."""
    step = -(-records // SAMPLES)
    return np.arange(step // 2, records, step, dtype=np.int64)


def write_mass(path: Path, orders: Sequence[int], sample: MassSample) -> None:
    """Write a sample; sample.context and sample.mass are [O, M]."""
    columns: dict[str, Any] = {"record": pa.array(sample.record)}
    for row, order in enumerate(orders):
        columns[f"context_{order}"] = pa.array(sample.context[row])
        columns[f"mass_{order}"] = pa.array(sample.mass[row])
    batch = pa.record_batch(columns)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def read_mass(path: Path, orders: Sequence[int]) -> MassSample:
    """Read a sample written for these orders.

    Raises DataError for a file that is none.
    """
    file = ArrowFile(path, what="sampled masses", remedy="count again to write them anew")
    file.require(_fields(orders), f"orders {tuple(orders)} need others; count again to write them")
    columns = dict(zip(file.names, file.columns(), strict=True))
    return MassSample(
        columns["record"],
        np.stack([columns[f"context_{order}"] for order in orders]),
        np.stack([columns[f"mass_{order}"] for order in orders]),
    )


def _fields(orders: Sequence[int]) -> list[tuple[str, pa.DataType]]:
    kinds = (("context", pa.uint32()), ("mass", pa.float64()))
    return [("record", pa.int64()), *((f"{name}_{order}", kind) for order in orders for name, kind in kinds)]
