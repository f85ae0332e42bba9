"""The hints whose probability the network is asked for: the stage `hint` proposes one token per record and order.

hints.arrow has a row per record in the order of the trace and, per order n, a column `hint_<n>` int32: a token, or -1.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.errors import DataError
from pgolf.eval.trace import STREAM_KEY

HINTS_FILE = "hints.arrow"
_COLUMN = re.compile(r"hint_(\d+)")


@dataclass(frozen=True, slots=True)
class Hints:
    """orders: ascending. tokens: int32 [R, K], a column per order, -1 where that order has no hint."""

    orders: tuple[int, ...]
    tokens: npt.NDArray[np.int32]


def read_hints(path: Path, *, records: int, vocab_size: int, stream: str) -> Hints:
    """The hints of a whole evaluation.

    records, stream: how many records it has, and the digest of its tokens. Raises DataError for a file that is none,
    holds tokens the network does not know, or belongs to other records or other tokens.
    """
    orders = hint_orders(path)
    # Of three columns per order the two counts are for the mixtures; at full size they would be gigabytes.
    table = _opened(path, [f"hint_{order}" for order in orders]).read_all()
    found = (table.schema.metadata or {}).get(STREAM_KEY, b"").decode()
    if found != stream:
        raise DataError(
            f"{path} is of tokens {found[:12] or 'it does not name'}, the validation tokens are {stream[:12]}; "
            "make the hints again from this data"
        )
    if table.num_rows != records:
        raise DataError(
            f"{path} has hints for {table.num_rows:,} records, this evaluation has {records:,}; give score and hint "
            "the same window, stride and tail"
        )
    tokens = np.stack(
        [table.column(f"hint_{order}").to_numpy().astype(np.int32, copy=False) for order in orders], axis=1
    )
    if tokens.size and not -1 <= tokens.min() <= tokens.max() < vocab_size:
        raise DataError(
            f"{path} has hints from {tokens.min()} to {tokens.max()}, tokens go from 0 to {vocab_size - 1}, and -1 is "
            "none; make the hints again"
        )
    return Hints(orders, tokens)


def hint_orders(path: Path) -> tuple[int, ...]:
    """The orders of a hints file, from its schema alone. Raises DataError for a file that is none."""
    return _orders(_opened(path).schema, path)


def _opened(path: Path, columns: Sequence[str] | None = None) -> pa.ipc.RecordBatchFileReader:
    """The file, or some of its columns."""
    try:
        file = pa.ipc.open_file(pa.OSFile(str(path), "rb"))
        if columns is None:
            return file
        wanted = [file.schema.get_field_index(name) for name in columns]
        return pa.ipc.open_file(pa.OSFile(str(path), "rb"), options=pa.ipc.IpcReadOptions(included_fields=wanted))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as hints: {error}; make the hints again") from error


def _orders(schema: pa.Schema, path: Path) -> tuple[int, ...]:
    orders = tuple(sorted(int(match[1]) for name in schema.names if (match := _COLUMN.fullmatch(name))))
    if not orders:
        raise DataError(f"{path} has columns {', '.join(schema.names)} and no hint_<order>; make the hints again")
    return orders
