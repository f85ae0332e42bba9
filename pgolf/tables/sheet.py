"""A table for people: columns with a heading, a unit and a way to write their values, rows, and notes below."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from pgolf.tables.columns import moments_of
from pgolf.tables.fitting import NOT_LOOKED_FOR
from pgolf.tables.schema import MOMENT, TableSpec

Value = str | int | float | bool | datetime | dict[str, float] | dict[str, str] | None

# By the end of a column's name, which is its unit: how many digits say something and no more.
_SPECS = (("bpb", ".4f"), ("_nats", ".5f"), ("_s", ".1f"), ("bytes", ",d"), ("targets", ",d"), ("bits", ",.0f"))


@dataclass(frozen=True, slots=True)
class SheetColumn:
    """`name` keys the value in CSV and JSON, unit included; `heading` is what a reader sees; `spec` formats numbers.

    shown: false for what a title or note tells a reader, and only machines need in every row. spare: the higher, the
    sooner it leaves where a terminal is narrow; below 0 after all others, whatever it holds. of: the column that holds
    the whole which this is a part of: where it is larger, a reader sees both, `2 of 3`.
    """

    name: str
    heading: str
    spec: str = ""
    shown: bool = True
    spare: int = 0
    of: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Title, columns, rows of one value per column, and notes: what the numbers mean and what was left out."""

    title: str
    columns: tuple[SheetColumn, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()


def spec_of(name: str) -> str:
    """The format of a column's numbers, by the unit at the end of its name."""
    return next((spec for ending, spec in _SPECS if name.endswith(ending)), "")


def sheet_of(table: pa.Table, spec: TableSpec, *, title: str = "", columns: Sequence[str] | None = None) -> Sheet:
    """Rows of a result table as they are. columns: the ones wanted, default those that hold any value.

    Raises ResultsError for a column the table does not have.
    """
    if columns is None:
        columns = [name for name in table.column_names if table.column(name).null_count < table.num_rows]
    chosen = [spec.column(name) for name in columns]
    values = [_plain_values(table.column(column.name)) for column in chosen]
    headings = (
        SheetColumn(
            column.name,
            f"{column.name} ({column.unit})" if column.unit else column.name,
            spec_of(column.name),
            spare=spec.telling.index(column.name) if column.name in spec.telling else NOT_LOOKED_FOR,
        )
        for column in chosen
    )
    return Sheet(title or spec.name, tuple(headings), tuple(zip(*values)))


def _plain_values(column: "pa.ChunkedArray[Any]") -> list[Value]:
    if column.type.equals(MOMENT):
        return [*moments_of(column)]
    if pa.types.is_map(column.type):
        return [None if pairs is None else dict(pairs) for pairs in column.to_pylist()]
    values: list[Value] = column.to_pylist()
    return values
