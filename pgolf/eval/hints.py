"""Read hints: the token that stage `hint` proposes per record and order, whose probability scoring adds to the trace.

hints.arrow has a row per record in the order of the trace, and per order n a column `hint_<n>` int32: a token, or -1.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.errors import DataError
from pgolf.eval.arrow_file import ArrowFile
from pgolf.eval.trace import STREAM_KEY

HINTS_FILE = "hints.arrow"
_COLUMN = re.compile(r"hint_(0|[1-9][0-9]{0,3})")
_REMEDY = "make the hints again"


@dataclass(frozen=True, slots=True)
class Hints:
    """orders: ascending. tokens: int32 [R, K], a column per order, -1 if that order has no hint."""

    orders: tuple[int, ...]
    tokens: npt.NDArray[np.int32]


def read_hints(path: Path, *, records: int, vocab_size: int, stream: str) -> Hints:
    """Read the hints of a whole evaluation.

    records, stream: the evaluation's number of records and digest of its tokens. Raises DataError if the file is not a
    hints file, holds tokens outside the network's vocabulary, or belongs to other records or other tokens.
    """
    orders = hint_orders(path)
    # Skip the other two columns per order, counts for the mixtures: at full size they would be gigabytes.
    names = [f"hint_{order}" for order in orders]
    file = ArrowFile(path, what="hints", remedy=_REMEDY, columns=names)
    file.require([(name, pa.int32()) for name in names], f"hints are int32; {_REMEDY}")
    found = file.says(STREAM_KEY)
    if found != stream:
        raise DataError(
            f"{path} was made from tokens {found[:12] or 'that it does not name'}, the validation tokens are "
            f"{stream[:12]}; make the hints again from this data"
        )
    columns = file.columns()
    if len(columns[0]) != records:
        raise DataError(
            f"{path} has hints for {len(columns[0]):,} records, this evaluation has {records:,}; give hint.window, "
            "hint.stride and hint.tail the values of score.window, score.stride and score.tail"
        )
    tokens = np.stack(columns, axis=1)
    if tokens.size and not -1 <= tokens.min() <= tokens.max() < vocab_size:
        raise DataError(
            f"{path} has hints from {tokens.min()} to {tokens.max()}, but tokens go from 0 to {vocab_size - 1}, and -1 "
            "means none; make the hints again"
        )
    return Hints(orders, tokens)


def hint_orders(path: Path) -> tuple[int, ...]:
    """The orders in a hints file, read from its schema. Raises DataError if it is not a hints file."""
    names = ArrowFile(path, what="hints", remedy=_REMEDY).names
    orders = tuple(sorted(int(match[1]) for name in names if (match := _COLUMN.fullmatch(name))))
    if not orders or len(set(orders)) < len(orders):
        what = "two of the same order" if orders else "no hint_<order>"
        raise DataError(f"{path} has columns {', '.join(names)} and {what}; {_REMEDY}")
    return orders
