"""Filters of result tables by the values of columns, written in Python or on a command line."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pgolf.errors import ResultsError
from pgolf.tables.columns import to_column
from pgolf.tables.schema import MOMENT, REAL, TEXT, WHOLE, YES_NO, TableSpec

_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def select(table: pa.Table, spec: TableSpec, where: Mapping[str, Any]) -> pa.Table:
    """Rows where each named column equals its value, or one of them where several are given; None asks for null.

    Raises ResultsError for a column the table does not have and a value its type cannot hold.
    """
    keep = None
    for name, wanted in where.items():
        column = spec.column(name)
        several = isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes | Mapping)
        values = list(wanted) if several else [wanted]
        try:
            allowed = to_column(values, column.type)
            # is_in matches null with null, which equality would not.
            mask = pc.is_in(table.column(name), value_set=allowed)
        except (pa.ArrowException, ValueError) as error:
            raise ResultsError(f"column {name} holds {column.type}, not {wanted!r}: {error}") from error
        keep = mask if keep is None else pc.and_(keep, mask)
    return table if keep is None else table.filter(keep)


def parse_filters(spec: TableSpec, texts: Iterable[str]) -> dict[str, list[Any]]:
    """`column=value[,value…]` as written on a command line, for `select`; `null` asks for missing values.

    Naming a column twice adds to its values. Raises ResultsError for text that is no filter of this table.
    """
    where: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals:
            raise ResultsError(f"filter {text!r} has no '='; write column=value, e.g. seed=1337,42 or normalized=true")
        column = spec.column(name.strip())
        parsed = [_parse_value(value.strip(), column.name, column.type) for value in values.split(",")]
        where.setdefault(column.name, []).extend(parsed)
    return where


def _parse_value(text: str, name: str, kind: pa.DataType) -> Any:
    if text == "null":
        return None
    try:
        if kind.equals(TEXT):
            return text
        if kind.equals(WHOLE):
            return int(text)
        if kind.equals(REAL):
            return float(text)
        if kind.equals(YES_NO):
            return _YES_NO[text.lower()]
        if kind.equals(MOMENT):
            return datetime.fromisoformat(text)
    except (ValueError, KeyError) as error:
        raise ResultsError(f"filter {name}={text}: column {name} holds {kind}, which {text!r} is not") from error
    raise ResultsError(f"column {name} holds {kind}, which rows cannot be filtered by")
