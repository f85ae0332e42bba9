"""`pgolf results`."""

import argparse
import json
import sys

from pgolf.tables.filters import parse_filters
from pgolf.tables.parquet import read
from pgolf.tables.ranked import NEEDED, legacy_scores, ranking
from pgolf.tables.schema import TABLES
from pgolf.tables.sheet import Sheet, sheet_of
from pgolf.tables.text import to_csv, to_json, to_text


def results(arguments: argparse.Namespace) -> int:
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
