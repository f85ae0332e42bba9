"""`pgolf results`: the ranking, the legacy scores apart, or the stored rows of a result table."""

import argparse
import json
import sys

from flows.commands.arguments import add_json, add_results
from pgolf.tables.filters import parse_filters
from pgolf.tables.parquet import read
from pgolf.tables.ranked import NEEDED, legacy_scores, ranking
from pgolf.tables.schema import TABLES
from pgolf.tables.sheet import Sheet, sheet_of
from pgolf.tables.text import to_csv, to_json, to_text

EXAMPLES = """examples:
  pgolf results                                    mean ± std per scorer: ranked, and legacy apart
  pgolf results --rows --recipe demo --seed 42     the stored rows
  pgolf results --table attempts --csv             every packing attempt
  pgolf results --where estimator=exact --where order=3 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_results(parser)
    parser.add_argument("--table", choices=("scores", "attempts", "stages"), default="scores", help="which table")
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
        print(f"no rows{asked} in {arguments.results / spec.name}; `pgolf run RECIPE` writes some", file=sys.stderr)
    if arguments.csv:
        print(to_csv(sheet_of(table, spec)), end="")
    elif not in_means:
        sheet = sheet_of(table, spec)
        print(to_json(sheet) if arguments.json else to_text(sheet), end="")
    else:
        _print_means(ranking(table, top=arguments.top), legacy_scores(table, top=arguments.top), arguments.json)
    return 0


def _print_means(ranked: Sheet, legacy: Sheet, as_json: bool) -> None:
    if as_json:
        lists = {"ranking": json.loads(to_json(ranked)), "legacy": json.loads(to_json(legacy))}
        print(json.dumps(lists, indent=2, ensure_ascii=False))
        return
    print("\n".join(to_text(sheet) for sheet in (ranked, legacy) if sheet.rows or sheet.notes), end="")
