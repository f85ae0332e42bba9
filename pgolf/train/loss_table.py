"""The loss of every step of a training, as a Parquet file. Imports no torch, and travels in no bundled script."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.train.train_job import StepLoss

LOSSES_FILE = "losses.parquet"

SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), metadata={"meaning": "steps done, this one included"}),
        pa.field("tokens", pa.int64(), metadata={"unit": "tokens", "meaning": "targets learned from, those included"}),
        pa.field("loss_nats", pa.float64(), metadata={"unit": "nats/token", "meaning": "mean, before the step"}),
        pa.field("clock_s", pa.float64(), metadata={"unit": "s", "meaning": "training clock after the step"}),
    ]
)


def write_losses(path: Path, losses: Sequence[StepLoss], *, tokens_per_step: int) -> None:
    """Write one row per step, in order."""
    steps = range(1, len(losses) + 1)
    columns = [
        pa.array(steps, pa.int64()),
        pa.array([tokens_per_step * step for step in steps], pa.int64()),
        pa.array([loss_nats for loss_nats, _ in losses], pa.float64()),
        pa.array([clock_s for _, clock_s in losses], pa.float64()),
    ]
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), path, compression="zstd")
