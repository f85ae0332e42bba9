"""What no run writes into a table, and would mislead or break whoever reads it: looked for in every file read."""

import pyarrow as pa
import pyarrow.compute as pc

from pgolf.tables.columns import to_column
from pgolf.tables.schema import MOMENT, REAL, SECONDS_BY_PHASE, TEXT, WHOLE, TableSpec

# 0001-01-02 and 9999-12-30 in microseconds since 1970: what Python's datetime holds in any time zone.
# Scalars by way of a column: pa.scalar, and a plain number beside a column, import pandas.
_FIRST, _LAST = to_column([-62_135_510_400_000_000, 253_402_128_000_000_000], WHOLE)
# No loss, size or time comes near it, and squares of what is smaller do not overflow.
(_TOO_LARGE,) = to_column([1e100], REAL)
# A terminal obeys these, and shows none of them. A line feed may stand in a headline's JSON.
_CONTROL = "[\\x00-\\x08\\x0b-\\x1f\\x7f]"


def refuse_impossible(table: pa.Table, spec: TableSpec) -> None:
    """Raise ValueError, naming the column, for a null where none may be, NaN, numbers beyond 1e100, times that no
    calendar has, text that is not UTF-8 or holds control characters, and buffers that are too short.

    table: of the spec's columns, or some of them.
    """
    table.validate(full=True)
    for field, column in zip(table.schema, table.columns):
        if field.name in spec.required and column.null_count:
            raise ValueError(f"{field.name} is missing in {column.null_count:,} of {len(column):,} rows")
        if field.type.equals(REAL):
            bad = pc.invert(pc.less(pc.abs(column), _TOO_LARGE))  # so is NaN
        elif field.type.equals(SECONDS_BY_PHASE):
            bad = pc.invert(pc.is_finite(pa.chunked_array([chunk.items for chunk in column.chunks], pa.float64())))
        elif field.type.equals(MOMENT):
            whole = column.cast(pa.int64())
            bad = pc.or_(pc.less(whole, _FIRST), pc.greater(whole, _LAST))
        elif field.type.equals(TEXT):
            bad = pc.match_substring_regex(column, _CONTROL)
        else:
            continue
        if pc.any(bad).as_py():
            raise ValueError(f"{field.name} ({field.type}) holds a value that no run writes")
