"""A mix's row as the scores' table has it: settings of a scorer by column, and the others as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from pgolf.tables.schema import SCORER, SCORES

Row = dict[str, Any]


def scorer_row(cell: Mapping[str, Any]) -> Row:
    """A cell's columns under the table's names; settings without a column of their own go into `cell`."""
    known = {column.name for column in SCORES.columns}
    settings = {name: value for name, value in cell.items() if name not in known and value is not None}
    row = {name: value for name, value in cell.items() if name in known}
    if settings:
        row["cell"] = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return row


def scorer_of(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """The settings that tell a scorer from others, in the order of SCORER."""
    row = scorer_row(cell)
    return tuple(row.get(name) for name in SCORER)
