"""Python values to Arrow columns of the result tables' types, without pandas.

`pyarrow.array` looks whether its argument is a pandas object, and imports pandas to find out: 0.4 s in a command that
has nothing else to do. It also takes a number for a flag and a flag for a number; here each type takes its own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.tables.schema import MOMENT, REAL, SECONDS_BY_PHASE, TEXT, WHOLE, YES_NO

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_column(values: Sequence[Any], kind: pa.DataType) -> "pa.Array[Any]":
    """Values as an Arrow array of one of the schema's types; None becomes null.

    A moment is a datetime with a time zone or its ISO text, seconds by phase a mapping from name to number.
    Raises ValueError saying which value does not fit, by place, and why: NaN and infinity never do.
    """
    convert = next(convert for known, convert in _CONVERT if kind.equals(known))
    checked = _all_checked(values, convert)
    if kind.equals(SECONDS_BY_PHASE):
        return _map_column(checked)
    valid = np.array([value is not None for value in checked], np.bool_)
    if kind.equals(TEXT):
        encoded = [b"" if value is None else value.encode() for value in checked]
        data = [_offsets([len(text) for text in encoded]), pa.py_buffer(b"".join(encoded))]
    elif kind.equals(YES_NO):
        data = [bits_of(np.array([bool(value) for value in checked], np.bool_))]
    else:
        dtype = np.float64 if kind.equals(REAL) else np.int64
        data = [pa.py_buffer(np.array([0 if value is None else value for value in checked], dtype).tobytes())]
    return pa.Array.from_buffers(kind, len(checked), [bits_of(valid), *data], int((~valid).sum()))


def _all_checked(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Every value in the form its buffer takes, None left as it is; the very same object is looked at once."""
    known: dict[int, Any] = {id(None): None}
    checked = []
    for place, value in enumerate(values):
        # `values` keeps its objects alive, so no two of them share an id. Half of a table's columns are one object.
        if id(value) not in known:
            known[id(value)] = _checked(place, value, convert)
        checked.append(known[id(value)])
    return checked


def _checked(place: int, value: Any, convert: Callable[[Any], Any]) -> Any:
    """The value in the form its buffer takes."""
    try:
        return convert(value)
    except ValueError as error:
        raise ValueError(f"value {place} is {value!r}: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"text is expected, not {type(value).__name__}")
    value.encode()  # a lone surrogate has no UTF-8 form, and says so in an error that is a ValueError
    return str(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"a whole number is expected, not {type(value).__name__}")
    if not -(2**63) <= value < 2**63:
        raise ValueError("it does not fit in 64 bits")
    return int(value)


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"a number is expected, not {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError("a missing value is None, and a score that is not finite is no result")
    return float(value)


def _yes_no(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"true or false is expected, not {type(value).__name__}")
    return bool(value)


def _microseconds(value: Any) -> int:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise ValueError(f"a moment is expected, not {type(value).__name__}")
    if moment.tzinfo is None:
        raise ValueError("it has no time zone; write e.g. 2025-12-01T09:30:00+00:00")
    return (moment - _EPOCH) // _MICROSECOND


def _seconds_by_phase(value: Any) -> list[tuple[str, float]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"a mapping from phase to seconds is expected, not {type(value).__name__}")
    return sorted((_text(name), _real(seconds)) for name, seconds in value.items())


_CONVERT: tuple[tuple[pa.DataType, Callable[[Any], Any]], ...] = (
    (TEXT, _text),
    (WHOLE, _whole),
    (REAL, _real),
    (YES_NO, _yes_no),
    (MOMENT, _microseconds),
    (SECONDS_BY_PHASE, _seconds_by_phase),
)


def moments_of(column: "pa.ChunkedArray[Any]") -> list[datetime | None]:
    """The moments of a column. Not Arrow's own way to UTC: it asks for a time zone file, which a small system lacks."""
    since_epoch = column.cast(pa.int64()).to_pylist()
    return [None if moment is None else _EPOCH + moment * _MICROSECOND for moment in since_epoch]


def _map_column(values: Sequence[list[tuple[str, float]] | None]) -> "pa.Array[Any]":
    valid = np.array([value is not None for value in values], np.bool_)
    pairs = [pair for value in values if value is not None for pair in value]
    names, seconds = to_column([name for name, _ in pairs], TEXT), to_column([number for _, number in pairs], REAL)
    fields: list[pa.Field[Any]] = [SECONDS_BY_PHASE.key_field, SECONDS_BY_PHASE.item_field]
    entries = pa.StructArray.from_arrays([names, seconds], fields=fields)
    starts = _offsets([len(value or ()) for value in values])
    nulls = int((~valid).sum())
    return pa.Array.from_buffers(SECONDS_BY_PHASE, len(values), [bits_of(valid), starts], nulls, children=[entries])


def bits_of(flags: npt.NDArray[np.bool_]) -> pa.Buffer:
    """One bit per flag, the first in the lowest, as Arrow keeps them."""
    return pa.py_buffer(np.packbits(flags, bitorder="little").tobytes())


def _offsets(lengths: Sequence[int]) -> pa.Buffer:
    """Where each of consecutive pieces begins, and where the last one ends: int32 [pieces + 1]."""
    return pa.py_buffer(np.cumsum([0, *lengths]).astype(np.int32).tobytes())
