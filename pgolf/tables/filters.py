"""Filters of result tables by the values of columns, written in Python or on a command line."""

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pgolf.errors import ResultsError
from pgolf.tables.columns import to_column
from pgolf.tables.schema import MOMENT, REAL, SECONDS_BY_PHASE, TEXT, WHOLE, YES_NO, TableSpec

_WRITTEN = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(<=|>=|!=|<|>|=)\s*(.*?)\s*", re.DOTALL)
_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_EXAMPLE = "seed=1337,42, normalized=true, 'bpb<2.1' or model.width=256"
# What TOML and `pgolf plan` say for no value.
NONE = "none"
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


@dataclass(frozen=True, slots=True)
class Condition:
    """What a row must have. name: a column, or a setting by its dotted name. operator: =, !=, <, <=, > or >=.

    texts: the values as they were written; several for = and !=. whole: all of them as one text, where a comma may be
    part of a value: of a name, or of a list.
    """

    name: str
    operator: str
    texts: tuple[str, ...]
    whole: str = ""

    @property
    def is_of_setting(self) -> bool:
        """Whether it is about a setting of the run's recipe, and not about a column."""
        return "." in self.name

    def holds(self, value: Any) -> bool:
        """Whether a setting's value fits; null is neither more nor less than any. Raises ResultsError where the two
        have no order.

        A setting that is a list may be written as `--set` takes it, 0.4,0.5; no value is `null`, or `none` as in TOML.
        """
        wanted = [_plain(text) for text in self.texts]
        if self.operator in ("=", "!="):
            wanted += [wanted[:], self.whole, *([None] if NONE in wanted else [])]
            return (value in wanted) == (self.operator == "=")
        (limit,) = wanted
        if limit in (None, NONE):
            raise ResultsError(f"filter {self}: nothing is more or less than that")
        if value is None:
            return False
        try:
            return bool(_ORDERS[self.operator](value, limit))
        except TypeError:
            raise ResultsError(f"{self}: {self.name} is {value!r:.60}, which is not more or less than that") from None

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.whole or ','.join(self.texts)}"


def parse_conditions(texts: Iterable[str], example: str = _EXAMPLE) -> list[Condition]:
    """Conditions as written on a command line: `seed=1337,42`, `bpb<2.1`, `model.width>=256`, `gpu=null`.

    Raises ResultsError for text that is none, with the example.
    """
    found = []
    for text in texts:
        match = _WRITTEN.fullmatch(text)
        if match is None:
            raise ResultsError(f"filter {text!r} has no '='; write column=value, e.g. {example}")
        name, compared, values = match.groups()
        several = compared in ("=", "!=")
        found.append(Condition(name, compared, _split(values) if several else (values,), values if several else ""))
    return found


def _split(values: str) -> tuple[str, ...]:
    """Values at their commas, but not at those within a list or quotes: `1337,42` are two, `[0.4,0.5]` is one."""
    try:
        if "[" not in values and '"' not in values:
            raise ValueError
        several = json.loads(f"[{values}]")
    except (ValueError, RecursionError):
        return tuple(map(str.strip, values.split(",")))
    return tuple(one if isinstance(one, str) else json.dumps(one) for one in several)


def fitting(table: pa.Table, spec: TableSpec, conditions: Iterable[Condition]) -> pa.Table:
    """The rows that meet every condition on columns. A missing value is neither more nor less than any.

    Of several = on one column any may hold. Raises ResultsError for an unknown column and a value it cannot hold.
    """
    where: dict[str, list[Any]] = {}
    for condition in conditions:
        column = spec.column(condition.name)
        texts = condition.texts
        if column.type.equals(TEXT) and condition.whole not in ("", *texts):
            texts = (*texts, condition.whole)
        values = [_parse_value(text, condition, column.type) for text in texts]
        if condition.operator == "=":
            where.setdefault(column.name, []).extend(values)
            continue
        if condition.operator != "!=" and (values == [None] or column.type.equals(SECONDS_BY_PHASE)):
            raise ResultsError(f"filter {condition}: nothing is more or less than that")
        mask = _judged(table, condition, column.name, values, column.type)
        table = table.filter(mask)
    return select(table, spec, where)


def _judged(table: pa.Table, condition: Condition, name: str, values: list[Any], kind: pa.DataType) -> Any:
    """Which rows are others than the values, or more or less than the one."""
    try:
        wanted = to_column(values, kind)
        if condition.operator == "!=":
            return pc.invert(pc.is_in(table.column(name), value_set=wanted))
        (limit,) = wanted
        return pc.fill_null(_COMPARE[condition.operator](table.column(name), limit), False)
    except (pa.ArrowException, ValueError) as error:
        raise ResultsError(f"filter {condition}: column {name} holds {kind}, and {error}") from error


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _parse_value(text: str, condition: Condition, kind: pa.DataType) -> Any:
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
            when = datetime.fromisoformat(text)
            return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    except (ValueError, KeyError) as error:
        raise ResultsError(
            f"filter {condition}: column {condition.name} holds {kind}, which {text!r} is not"
        ) from error
    raise ResultsError(f"column {condition.name} holds {kind}, which rows cannot be filtered by")
