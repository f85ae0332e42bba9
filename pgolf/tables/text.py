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

from pgolf.tables.fitting import GAP, MOST_CHARACTERS, shorter, shown_columns, taken
from pgolf.tables.sheet import Sheet, SheetColumn, Value

MISSING = "–"
_MOST_NAMED = 6
_MOST_NOTED = 16
# A narrower terminal gets lines that are too long for it.
LEAST_WIDTH = 10
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NO_BREAK = "\N{NO-BREAK SPACE}"
# The blanks round a sign, and between a number and its percent.
_IN_FORMULA = re.compile(r"(?<=\S) (?=[=<>±…] \S)|(?<=\S [=<>±…]) (?=\S)|(?<=[0-9]) (?=%)")


def to_text(sheet: Sheet, width: int | None = None) -> str:
    """Title, headings, one line per row, notes. Numbers stand flush right, words flush left; no trailing blanks.

    width: columns of the terminal. Where the table is wider its headings take several lines; where that is not enough
    digests and long texts are shortened, and then columns are left out, which a note says.
    """
    width = None if width is None else max(width, LEAST_WIDTH)
    shown = [i for i, column in enumerate(sheet.columns) if column.shown]
    columns = [sheet.columns[i] for i in shown]
    cells = [_cells(sheet, i) for i in shown]
    right = [_is_numeric(sheet, i) for i in shown]
    headings = [[column.heading] for column in columns]
    notes = list(sheet.notes)
    if width is not None and taken(_widths(headings, cells)) > width:
        headings = _stacked(columns)
    if width is not None and taken(_widths(headings, cells)) > width:
        cells = [[shorter(text, MOST_CHARACTERS) for text in of_column] for of_column in cells]
        alike = [len(of_column) > 1 and len(set(of_column)) == 1 for of_column in cells]
        kept, left = shown_columns(_widths(headings, cells), [c.spare for c in columns], alike, width)
        if left:
            notes.append(_left_out([columns[i] for i in left], [cells[i][0] if alike[i] else None for i in left]))
        headings, cells, right = [headings[i] for i in kept], [cells[i] for i in kept], [right[i] for i in kept]
    lines = _laid_out(headings, cells, right)
    if width is not None:
        # A single value, or the words of a heading, that are wider than the terminal.
        lines = [line if _width(line) <= width else shorter(line, width) for line in lines]
    title = wrapped(sheet.title, width) if sheet.title else []
    return "\n".join([*title, *lines, *(line for note in notes for line in wrapped(note, width))]) + "\n"


def _left_out(columns: Sequence[SheetColumn], values: Sequence[str | None]) -> str:
    """A note about columns that are not shown; those that are alike in every row with what they hold."""
    said = [
        column.heading if value is None or len(value) > _MOST_NOTED else f"{column.heading} {value}"
        for column, value in zip(columns, values)
    ]
    more = f" and {len(said) - _MOST_NAMED} more" if len(said) > _MOST_NAMED else ""
    return f"too narrow for {', '.join(said[:_MOST_NAMED])}{more}: --wide shows all"


def wrapped(text: str, width: int | None) -> list[str]:
    """Lines of at most `width` columns, all but the first set in; a word that is longer stays whole.

    So does a formula (`n = 3`, `95 %`) where the width allows it.
    """
    if width is None:
        return [text]

    def lines(words: str) -> list[str]:
        return textwrap.wrap(words, width, subsequent_indent=GAP, break_long_words=False, break_on_hyphens=False)

    found = [line.replace(_NO_BREAK, " ") for line in lines(_IN_FORMULA.sub(_NO_BREAK, text))]
    return (found if all(len(line) <= width for line in found) else lines(text)) or [""]


def _widths(headings: Sequence[Sequence[str]], cells: Sequence[Sequence[str]]) -> list[int]:
    """Of each column."""
    return [max(map(_width, (*heading, *of_column)), default=0) for heading, of_column in zip(headings, cells)]


def _stacked(columns: Sequence[SheetColumn]) -> list[list[str]]:
    """The headings with one word a line, their last words on the last line."""
    words = [column.heading.split() for column in columns]
    height = max((len(of_column) for of_column in words), default=0)
    return [[""] * (height - len(of_column)) + of_column for of_column in words]


def _laid_out(headings: Sequence[Sequence[str]], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """The lines of headings and rows, from columns."""
    widths = _widths(headings, cells)
    rows = [*zip(*headings), *zip(*cells)]
    lines = [_line(row, widths, right) for row in rows]
    return lines[next((n for n, line in enumerate(lines) if line), 0) :]  # headings of fewer words than one left out


def to_markdown(sheet: Sheet) -> str:
    """The rows as a Markdown table, notes below it."""
    shown = [i for i, column in enumerate(sheet.columns) if column.shown]
    right = [_is_numeric(sheet, i) for i in shown]
    lines = [
        _markdown_row([sheet.columns[i].heading for i in shown]),
        _markdown_row(["---:" if flush else "---" for flush in right]),
        *(_markdown_row(list(row)) for row in zip(*(_cells(sheet, i) for i in shown))),
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


def _cells(sheet: Sheet, place: int) -> list[str]:
    """A column as a reader sees it."""
    column = sheet.columns[place]
    cells = [_shown(row[place], column) for row in sheet.rows]
    if not column.of:
        return cells
    wholes = [row[[one.name for one in sheet.columns].index(column.of)] for row in sheet.rows]
    return [
        f"{cell} of {whole:d}" if isinstance(whole, int) and isinstance(part, int) and whole > part else cell
        for cell, whole, part in zip(cells, wholes, (row[place] for row in sheet.rows))
    ]


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
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, width, flush in zip(cells, widths, right):
        blanks = " " * (width - _width(cell))
        padded.append(blanks + cell if flush else cell + blanks)
    return GAP.join(padded).rstrip()


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
