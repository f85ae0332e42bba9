"""Mean loss and entropy of each batch of windows over all its positions, as an Arrow IPC file.

One row per batch in stream order (`pgolf.eval.chunks.window_batches`): `chunk`, `rank`, `batch` int64; its windows
`first_window` .. `last_window` - 1 of the plan; `positions` int64, the number of positions those windows read;
`loss_nats` and `entropy_nats` float32, means over all these positions, most of which no window scores.
Source: the mixer of openai/parameter-golf PR #745 updates its weights on such means.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.errors import DataError
from pgolf.eval.arrow_file import ArrowFile
from pgolf.eval.windows import Int64Array

SCHEMA = pa.schema(
    [
        ("chunk", pa.int64()),
        ("rank", pa.int64()),
        ("batch", pa.int64()),
        ("first_window", pa.int64()),
        ("last_window", pa.int64()),
        ("positions", pa.int64()),
        ("loss_nats", pa.float32()),
        ("entropy_nats", pa.float32()),
    ]
)


@dataclass(frozen=True, slots=True)
class BatchMean:
    """One batch; last_window is exclusive."""

    chunk: int
    rank: int
    batch: int
    first_window: int
    last_window: int
    positions: int
    loss_nats: float
    entropy_nats: float


@dataclass(frozen=True, slots=True)
class BatchMeans:
    """All batches as columns of equal length; last_window is exclusive."""

    chunk: Int64Array
    rank: Int64Array
    batch: Int64Array
    first_window: Int64Array
    last_window: Int64Array
    positions: Int64Array
    loss_nats: npt.NDArray[np.float32]
    entropy_nats: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.chunk)


def as_columns(means: Iterable[BatchMean]) -> BatchMeans:
    """The batches as columns, as if written and read."""
    rows = list(means)
    return BatchMeans(
        *(np.array([getattr(row, field.name) for row in rows], field.type.to_pandas_dtype()) for field in SCHEMA)
    )


def write_batch_means(path: Path, means: Iterable[BatchMean]) -> int:
    """Write one row per batch, in the given order; returns the number of rows.

    Raises DataError if a mean is NaN or infinite.
    """
    rows = list(means)
    columns = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in SCHEMA]
    for row in rows:
        if not np.isfinite(row.loss_nats) or not np.isfinite(row.entropy_nats):
            raise DataError(
                f"windows {row.first_window:,} to {row.last_window - 1:,} have a mean loss of {row.loss_nats} and a "
                f"mean entropy of {row.entropy_nats} nats; the model gives no usable score there: check the checkpoint"
            )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    return len(rows)


def read_batch_means(path: Path) -> BatchMeans:
    """Read all rows. Raises DataError if the file holds no batch means."""
    file = ArrowFile(path, what="batch means", remedy="set score.batch_means and score again to write them")
    file.require([(field.name, field.type) for field in SCHEMA], f"batch means have {', '.join(SCHEMA.names)}")
    return BatchMeans(*file.columns())
