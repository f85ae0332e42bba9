"""The trace: the network's loss and entropy per scored target, as an Arrow IPC file.

One row per record in evaluation order (`pgolf.eval.windows`): `target` int64, index j of the target in the validation
stream; `loss_nats` float32, -ln q(x_j); `entropy_nats` float32, entropy of the distribution q at that position. If
hints were scored (`hints.arrow`), `hint_logp_<n>` float32 per order n: ln q of that order's hint, 0 without one.
The schema's metadata name the stream and the windows, and say whether any score had seen its own target.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.errors import DataError
from pgolf.eval.arrow_file import ArrowFile
from pgolf.eval.blocks import Columns, write_blocks
from pgolf.eval.windows import Tail, WindowPlan, plan_windows

WINDOWS_KEY = b"pgolf.windows"
CAUSAL_KEY = b"pgolf.causal"
STREAM_KEY = b"pgolf.stream"

COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("target", pa.int64()),
    ("loss_nats", pa.float32()),
    ("entropy_nats", pa.float32()),
)
SCHEMA = pa.schema(COLUMNS)
_HINT_COLUMN = re.compile(r"hint_logp_(0|[1-9][0-9]{0,3})")
_FEW_WINDOWS = 1 << 20
_REMEDY = "score again to write a new one"


@dataclass(frozen=True, slots=True)
class Trace:
    """Consecutive records: target int64, loss_nats and entropy_nats float32, all of equal length.

    hint_logp: order n -> ln q of the hint of that order, float32 of the same length; empty without hints.
    """

    target: npt.NDArray[np.int64]
    loss_nats: npt.NDArray[np.float32]
    entropy_nats: npt.NDArray[np.float32]
    hint_logp: Mapping[int, npt.NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target)

    def columns(self) -> list[npt.NDArray[Any]]:
        """All columns in file order."""
        return [self.target, self.loss_nats, self.entropy_nats, *self.hint_logp.values()]

    @classmethod
    def of(cls, columns: Sequence[npt.NDArray[Any]], hint_orders: Sequence[int]) -> Self:
        """The inverse of `columns`."""
        target, loss_nats, entropy_nats, *hints = columns
        return cls(target, loss_nats, entropy_nats, dict(zip(hint_orders, hints, strict=True)))


def trace_schema(hint_orders: Sequence[int] = ()) -> pa.Schema:
    """Schema of a trace, without metadata."""
    return pa.schema([*COLUMNS, *((f"hint_logp_{order}", pa.float32()) for order in hint_orders)])


def write_trace(
    path: Path,
    pieces: Iterable[Trace],
    *,
    plan: WindowPlan | None = None,
    causal: bool = True,
    stream: str | None = None,
    hint_orders: Sequence[int] = (),
) -> int:
    """Write consecutive pieces as one trace of the plan's windows; returns the number of records.

    causal: whether every row depends only on the artifact and on tokens before its target. stream: the digest of the
    tokens (`pgolf.corpus.shards.stream_digest`). hint_orders: the hint columns of every piece.
    Holds one block of rows and one piece in memory. The bytes do not depend on where the pieces are cut.
    Raises DataError for a piece with columns of different lengths, or a value that is NaN or infinite.
    """
    metadata = {CAUSAL_KEY: b"true" if causal else b"false"}
    if plan is not None:
        sizes = {"targets": plan.targets, "window": plan.window, "stride": plan.stride, "tail": plan.tail}
        metadata[WINDOWS_KEY] = json.dumps(sizes).encode()
    if stream is not None:
        metadata[STREAM_KEY] = stream.encode()
    schema = trace_schema(hint_orders).with_metadata(metadata)
    return write_blocks(path, schema, (_whole_columns(piece, schema) for piece in pieces), check=_check_finite)


def _whole_columns(piece: Trace, schema: pa.Schema) -> list[npt.NDArray[Any]]:
    columns = piece.columns()
    if len(columns) != len(schema) or any(len(column) != len(piece) for column in columns):
        lengths = ", ".join(f"{len(column):,}" for column in columns)
        raise DataError(
            f"a piece of the trace has columns of {lengths} rows for {', '.join(schema.names)}; each target needs "
            "one value in each"
        )
    return columns


def _check_finite(block: Columns, before: int) -> None:
    target, loss_nats, entropy_nats, *_hints = block
    finite = np.ones(len(target), dtype=np.bool_)
    for column in block[1:]:
        finite &= np.isfinite(column)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"record {before + row:,} (target {int(target[row]):,}) has loss {loss_nats[row]} and "
            f"entropy {entropy_nats[row]} nats; the model gives no usable score there: check the checkpoint"
        )


def read_trace(path: Path) -> Trace:
    """Read a whole trace; memory-mapped without a copy if it is a single block.

    Raises DataError if the file is not a trace.
    """
    file, orders = _opened(path, mapped=True)
    return Trace.of(file.columns(), orders)


def iterate_trace(path: Path) -> Iterator[Trace]:
    """Yield the blocks of a trace in order, reading one at a time.

    Not memory-mapped: mapped pages would count as this process's memory, 1 GB for the challenge's validation set.
    Raises DataError if the file is not a trace.
    """
    file, orders = _opened(path, mapped=False)
    for columns in file.blocks():
        yield Trace.of(columns, orders)


def count_records(path: Path) -> int:
    """Number of records in a trace, from the file's metadata alone.

    Raises DataError if the file is not a trace.
    """
    return _opened(path, mapped=True)[0].records()


def read_plan(path: Path) -> WindowPlan:
    """The window plan of a trace, for one rank, from the file's metadata alone.

    Raises DataError if the file is not a trace, lacks the plan, or names what is none.
    """
    file, _ = _opened(path, mapped=True)
    stored = _said(file, WINDOWS_KEY, "which windows were scored")
    try:
        sizes = json.loads(stored)
        numbers = {name: size for name, size in sizes.items() if name != "tail"}
        if not all(type(size) is int for size in numbers.values()) or sizes.get("tail") not in get_args(Tail):
            raise ValueError("a size is no whole number, or the tail is unknown")
        # A plan takes memory for its windows, and but for some at the end each has a record.
        windows = numbers.get("targets", 0) // max(1, numbers.get("stride", 1))
        if windows > max(_FEW_WINDOWS, 2 * (records := file.records())):
            raise ValueError(f"{windows:,} windows of {records:,} records")
        return plan_windows(**sizes)
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise DataError(
            f"{path} names {stored[:200]!r} as the windows that were scored, which is no plan: {error}; "
            "score again to write a new one"
        ) from error


def trace_is_causal(path: Path) -> bool:
    """Whether every score of a trace depends only on the artifact and on tokens before its target.

    Raises DataError if the file is not a trace or does not say.
    """
    return _said(_opened(path, mapped=True)[0], CAUSAL_KEY, "whether it is causal") == b"true"


def _said(file: ArrowFile, key: bytes, what: str) -> bytes:
    if key not in file.metadata:
        raise DataError(f"{file.path} does not say {what}; {_REMEDY}")
    return file.metadata[key]


def _opened(path: Path, *, mapped: bool) -> tuple[ArrowFile, list[int]]:
    """The file and the orders of its hint columns."""
    file = ArrowFile(path, what="a trace", remedy=_REMEDY, mapped=mapped)
    orders = _hint_orders(file.names)
    file.require(
        [(field.name, field.type) for field in trace_schema(orders)],
        "a trace has target int64, loss_nats float, entropy_nats float and, if hints were scored, "
        "hint_logp_<order> float",
    )
    return file, orders


def _hint_orders(names: Sequence[str]) -> list[int]:
    return [int(match[1]) for name in names if (match := _HINT_COLUMN.fullmatch(name))]
