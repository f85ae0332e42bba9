"""Score rows of whole grids, as a run would file them."""

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from pgolf.tables.parquet import rows_to_arrow
from pgolf.tables.schema import SCORES
from tests.score_rows import score_row

NETWORK_BPB = 2.6
TARGETS, BYTES = 30_000, 57_000


def cell_row(seed: int, bpb: float, **columns: Any) -> dict[str, Any]:
    """One row; settings go into the columns and, as JSON, into `cell`; `extra` into `cell` alone."""
    extra = columns.pop("extra", {})
    loss_nats = bpb * math.log(2) * BYTES / TARGETS
    row = score_row(
        **{"run_key": "demo-0123456789ab", "targets": TARGETS, "bytes": BYTES, "bits": bpb * BYTES}
        | {"seed": seed, "bpb": bpb, "loss_nats": loss_nats}
        | columns
    )
    settings = ("estimator", "counts", "mixer", "order", "alpha", "min_count", "granularity")
    return {**row, "cell": json.dumps({name: row[name] for name in settings if name in row} | extra)}


def grid_rows(
    *,
    seeds: tuple[int, ...] = (1, 2, 3),
    alphas: tuple[float, ...] = (0.1, 0.2, 0.4),
    orders: tuple[int, ...] = (2, 3, 4),
    mixers: tuple[str, ...] = ("fixed",),
    estimators: tuple[str, ...] = ("exact", "hashed"),
    **columns: Any,
) -> list[dict[str, Any]]:
    """The network and every mixture of it; a hashed one is legacy, and its mass grows with alpha and order."""
    rows = []
    for seed in seeds:
        noise = random.Random(seed).uniform(-0.01, 0.01)
        rows.append(cell_row(seed, NETWORK_BPB + noise, **columns))
        for estimator in estimators:
            legacy = estimator == "hashed"
            for mixer in mixers:
                for alpha in alphas:
                    for order in orders:
                        gain = alpha * (1 - alpha) / (1 + abs(order - 3)) + (0.5 * alpha if legacy else 0.0)
                        rows.append(
                            cell_row(
                                seed, NETWORK_BPB + noise * (1 - alpha) - gain, estimator=estimator, counts=estimator,
                                mixer=mixer, order=order, alpha=alpha, normalized=not legacy,
                                mass_mean=1 + 10 * alpha * order if legacy else 1.0, **{"min_count": 2, **columns},
                            )
                        )  # fmt: skip
    return rows


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as a table of scores."""
    return rows_to_arrow(SCORES, rows)


@pytest.fixture(scope="session")
def scores() -> Callable[..., pa.Table]:
    """scores(seeds=(1,), alphas=…, …): the table of a grid."""
    return lambda **grid: table_of(grid_rows(**grid))
