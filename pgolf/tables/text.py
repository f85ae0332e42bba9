"""A sheet as aligned text, CSV, JSON or Markdown."""

import csv
import io
import json
import re
import unicodedata
from datetime import datetime
from typing import Any

from pgolf.tables.sheet import Sheet, SheetColumn, Value

MISSING = "–"
_GAP = "  "
_DIGEST = re.compile(r"[0-9a-f]{64}")


def to_text(sheet: Sheet) -> str:
    """Title, headings, one line per row, notes. Numbers stand flush right, words flush left; no trailing blanks."""
    cells = [[_shown(value, column) for value, column in zip(row, sheet.columns)] for row in sheet.rows]
    widths = [
        max([_width(column.heading), *(_width(row[i]) for row in cells)]) for i, column in enumerate(sheet.columns)
    ]
    right = [_is_numeric(sheet, i) for i in range(len(sheet.columns))]
    headings = [column.heading for column in sheet.columns]
    lines = [_line(row, widths, right) for row in [headings, *cells]]
    return "\n".join([*([sheet.title] if sheet.title else []), *lines, *sheet.notes]) + "\n"


def to_markdown(sheet: Sheet) -> str:
    """The rows as a Markdown table, notes below it."""
    right = [_is_numeric(sheet, i) for i in range(len(sheet.columns))]
    lines = [
        _markdown_row([column.heading for column in sheet.columns]),
        _markdown_row(["---:" if flush else "---" for flush in right]),
        *(_markdown_row([_shown(value, column) for value, column in zip(row, sheet.columns)]) for row in sheet.rows),
    ]
    notes = [line for note in sheet.notes for line in ("", note)]
    return "\n".join([*lines, *notes]) + "\n"


def to_csv(sheet: Sheet) -> str:
    """Names and rows as CSV, every digit kept; a missing value is an empty field. Title and notes are left out."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in sheet.columns])
    for row in sheet.rows:
        writer.writerow(["" if value is None else _exact(value) for value in row])
    return out.getvalue()


def to_json(sheet: Sheet) -> str:
    """A list with one object per row, every digit kept; a missing value is null. Title and notes are left out."""
    names = [column.name for column in sheet.columns]
    rows = [dict(zip(names, row)) for row in sheet.rows]
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False, default=_iso) + "\n"


def _is_numeric(sheet: Sheet, column: int) -> bool:
    values = [row[column] for row in sheet.rows if row[column] is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _shown(value: Value, column: SheetColumn) -> str:
    """One value as a reader sees it, on one line."""
    match value:
        case None:
            return MISSING
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return (
                format(value, column.spec)
                if column.spec
                else f"{value:.6g}"
                if isinstance(value, float)
                else str(value)
            )
        case dict():
            return " ".join(f"{name}={number:.3g}" for name, number in value.items())
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case _:
            # A digest by its first 12 digits, as folders in the store are named; CSV and JSON have all 64.
            return value[:12] if _DIGEST.fullmatch(value) else " ".join(value.split())


def _exact(value: Any) -> str:
    """One value without loss."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value)
        case dict():
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def _iso(value: Any) -> str:
    assert isinstance(value, datetime), f"a sheet holds no {type(value).__name__}"
    return value.isoformat()


def _width(text: str) -> int:
    """Columns a terminal gives the text: two for a wide character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _line(cells: list[str], widths: list[int], right: list[bool]) -> str:
    padded = []
    for cell, width, flush in zip(cells, widths, right):
        blanks = " " * (width - _width(cell))
        padded.append(blanks + cell if flush else cell + blanks)
    return _GAP.join(padded).rstrip()


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
