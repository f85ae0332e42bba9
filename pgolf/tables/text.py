"""A sheet as aligned text, CSV, JSON or Markdown."""

import csv
import io
import json
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pgolf.tables.sheet import Sheet, SheetColumn, Value

MISSING = "–"
_GAP = "  "
# A narrower terminal gets lines that are too long for it.
LEAST_WIDTH = 10
_DIGEST = re.compile(r"[0-9a-f]{64}")


def to_text(sheet: Sheet, width: int | None = None) -> str:
    """Title, headings, one line per row, notes. Numbers stand flush right, words flush left; no trailing blanks.

    width: columns of the terminal. Where the table is wider its headings take several lines, and where that is not
    enough its rows do; nothing is left out.
    """
    width = None if width is None else max(width, LEAST_WIDTH)
    shown = [i for i, column in enumerate(sheet.columns) if column.shown]
    columns = [sheet.columns[i] for i in shown]
    cells = [[_shown(row[i], sheet.columns[i]) for i in shown] for row in sheet.rows]
    right = [_is_numeric(sheet, i) for i in shown]
    headings = [[column.heading for column in columns]]
    widths = _widths([*headings, *cells])
    if width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        headings = _stacked(columns)
        widths = _widths([*headings, *cells])
    lines = _laid_out(headings, cells, widths, right, _parts(widths, width))
    if width is not None:
        # A single value that is wider than the terminal.
        lines = [piece for line in lines for piece in _cut(line, width)]
    title = _wrapped(sheet.title, width) if sheet.title else []
    return "\n".join([*title, *lines, *(line for note in sheet.notes for line in _wrapped(note, width))]) + "\n"


def _wrapped(text: str, width: int | None) -> list[str]:
    """Lines of at most `width` columns, all but the first set in; a word that is longer stays whole."""
    if width is None:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=_GAP, break_long_words=False, break_on_hyphens=False) or [""]


def _cut(line: str, width: int) -> list[str]:
    """A line in pieces of at most `width` columns, all but the first set in."""
    if _width(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=_GAP, drop_whitespace=False) or [""]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(_width(cell) for cell in column) for column in zip(*rows)]


def _stacked(columns: Sequence[SheetColumn]) -> list[list[str]]:
    """The headings with one word a line, their last words on the last line."""
    words = [column.heading.split() for column in columns]
    height = max((len(of_column) for of_column in words), default=0)
    return [list(line) for line in zip(*([""] * (height - len(of_column)) + of_column for of_column in words))]


def _parts(widths: Sequence[int], width: int | None) -> list[slice]:
    """The columns that share a line: all of them, or as many as fit; further lines are set in."""
    parts: list[slice] = []
    first = used = 0
    for column, own in enumerate(widths):
        indent = len(_GAP) if parts else 0
        if column > first and width is not None and indent + used + len(_GAP) + own > width:
            parts.append(slice(first, column))
            first, used = column, own
        else:
            used += own + (len(_GAP) if column > first else 0)
    return [*parts, slice(first, len(widths))]


def _laid_out(
    headings: Sequence[Sequence[str]],
    cells: Sequence[Sequence[str]],
    widths: Sequence[int],
    right: Sequence[bool],
    parts: Sequence[slice],
) -> list[str]:
    """The lines of headings and rows."""
    lines: list[str] = []
    if not widths:
        return lines
    for block in (headings, *([row] for row in cells)):
        for number, part in enumerate(parts):
            # Of headings of several lines, a part may need fewer.
            made = [line for row in block if (line := _line(row[part], widths[part], right[part]))]
            lines += [f"{_GAP}{line}" if number else line for line in made]
    return lines


def to_markdown(sheet: Sheet) -> str:
    """The rows as a Markdown table, notes below it."""
    shown = [i for i, column in enumerate(sheet.columns) if column.shown]
    right = [_is_numeric(sheet, i) for i in shown]
    lines = [
        _markdown_row([sheet.columns[i].heading for i in shown]),
        _markdown_row(["---:" if flush else "---" for flush in right]),
        *(_markdown_row([_shown(row[i], sheet.columns[i]) for i in shown]) for row in sheet.rows),
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
            return " ".join(
                f"{name}={part if isinstance(part, str) else f'{part:.3g}'}" for name, part in value.items()
            )
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


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, width, flush in zip(cells, widths, right):
        blanks = " " * (width - _width(cell))
        padded.append(blanks + cell if flush else cell + blanks)
    return _GAP.join(padded).rstrip()


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
