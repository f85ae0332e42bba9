"""`pgolf results`: per validation text the ranking, then what is not ranked, or the stored rows of a result table."""

import argparse
import json
from typing import Any

import pyarrow as pa

from flows.commands.arguments import add_json, add_results, terminal_width
from flows.commands.streams import hand_over, show, tell
from pgolf.errors import ConfigError
from pgolf.tables.filters import parse_filters
from pgolf.tables.parquet import read
from pgolf.tables.ranked import NEEDED, lists, same_text
from pgolf.tables.schema import TABLES
from pgolf.tables.sheet import Sheet, sheet_of
from pgolf.tables.text import to_csv, to_json, to_text
from pgolf.tables.texts import by_text

EXAMPLES = """examples:
  pgolf results                                    mean ± std per scorer: ranked, found by looking, legacy
  pgolf results --rows --recipe demo --seed 42     the stored rows
  pgolf results --table attempts --csv             every packing attempt
  pgolf results --where estimator=exact --where order=3 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_results(parser)
    parser.add_argument("--table", choices=tuple(TABLES), default="scores", help="which table")
    parser.add_argument("--recipe", metavar="NAME", help="only this recipe")
    parser.add_argument("--seed", type=int, metavar="N", help="only this seed")
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only matching rows; may be repeated"
    )
    parser.add_argument("--rows", action="store_true", help="the stored rows instead of means over seeds")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="at most N scorers per list (default 10)")
    parser.add_argument("--csv", action="store_true", help="the stored rows, comma-separated, full precision")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the tables: ranking and legacy scores apart, or the stored rows."""
    if arguments.top < 1:
        raise ConfigError(f"--top {arguments.top} would show nothing; give 1 or more")
    spec = TABLES[arguments.table]
    where = parse_filters(spec, arguments.where)
    if arguments.recipe is not None:
        where["recipe"] = [arguments.recipe]
    if arguments.seed is not None:
        where["seed"] = [arguments.seed]
    in_means = not arguments.csv and not arguments.rows and arguments.table == "scores"
    table = read(arguments.results, spec, where, columns=NEEDED if in_means else None)
    if table.num_rows == 0:
        asked = " that match" if where else ""
        tell(f"no rows{asked} in {arguments.results / spec.name}; `pgolf run RECIPE` writes some")
    if arguments.csv:
        hand_over(to_csv(sheet_of(table, spec)))
    elif not in_means:
        sheet = sheet_of(table, spec)
        if arguments.json:
            hand_over(to_json(sheet))
        else:
            show(to_text(sheet, terminal_width()), end="")
    elif arguments.json:
        hand_over(json.dumps(_lists(table, arguments.top), indent=2, ensure_ascii=False))
    else:
        _print_means(table, arguments.top)
    return 0


def _lists(scores: pa.Table, top: int) -> dict[str, list[Any]]:
    """Every list's rows; each row names its text, and ranks count within it."""
    texts = by_text(scores)
    found: dict[str, list[Any]] = {"ranking": [], "found_by_looking": [], "legacy": [], "same_text": []}
    for _, of_text in texts:
        for name, sheet in lists(of_text, top=top).items():
            found[name] += _rows(sheet)
    for sheet in same_text(texts, top=top):
        found["same_text"] += _rows(sheet)
    return found


def _rows(sheet: Sheet) -> list[Any]:
    rows: list[Any] = json.loads(to_json(sheet))
    return rows


def _print_means(scores: pa.Table, top: int) -> None:
    width, texts = terminal_width(), by_text(scores)
    blocks = []
    for text, of_text in texts:
        heading = Sheet(f"validation text: {text}", (), ())
        sheets = lists(of_text, top=top).values()
        blocks += [to_text(heading, width), *(to_text(each, width) for each in sheets if each.rows or each.notes)]
    blocks += [to_text(sheet, width) for sheet in same_text(texts, top=top)]
    show("\n".join(blocks), end="")
