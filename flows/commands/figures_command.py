"""`pgolf figures`: draw the pictures of finished runs again."""

import argparse
import json

from flows.commands.arguments import add_json, add_results, results_there
from flows.commands.streams import hand_over, show
from pgolf.errors import ResultsError
from pgolf.report.folder import draw_run
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES

EXAMPLES = """examples:
  pgolf figures demo                               draw every run of demo again, from the tables alone
  pgolf figures demo-eb58b580e0bb                  one run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run keys, or how some begin")
    add_results(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Draw the pictures of the runs that begin so, from the tables alone. Raises ResultsError where there is none."""
    known = sorted(set(read(results_there(arguments), SCORES, columns=["run_key"]).column("run_key").to_pylist()))
    chosen: list[str] = []
    for wanted in arguments.runs:
        found = [key for key in known if key.startswith(wanted)]
        if not found:
            there = f"there are {', '.join(known)}" if known else "`pgolf run RECIPE` makes some"
            raise ResultsError(f"no run in {arguments.results / SCORES.name} begins with {wanted!r}; {there}")
        chosen += [key for key in found if key not in chosen]
    report = {}
    for key in chosen:
        folder = draw_run(arguments.results, read(arguments.results, SCORES, {"run_key": key}), again=True)
        report[key] = None if folder is None else str(folder)
        if not arguments.json:
            show(f"{key}: {folder or 'nothing to draw, no setting of its grid varies'}")
    if arguments.json:
        hand_over(json.dumps(report, indent=2))
    return 0
