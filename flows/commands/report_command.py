"""`pgolf report`: one page that tells what came out of some runs."""

import argparse
import json
import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from flows.commands.arguments import add_json, add_results, add_store, given_path, results_there, store_place
from flows.commands.made_besides import workshop
from flows.commands.streams import hand_over, show
from pgolf.compare.arms import Arm, arm_of
from pgolf.errors import ConfigError, PgolfError
from pgolf.pipeline.by_document import compare_runs
from pgolf.pipeline.run_outputs import Workshop
from pgolf.pipeline.run_report import write_report
from pgolf.stats.compare import RECORD_RULE
from pgolf.store.artifact import Store
from pgolf.tables.declared_seeds import declared_seeds
from pgolf.tables.named_runs import runs_in
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES

EXAMPLES = """examples:
  pgolf report demo                                the page of one run, to results/reports/
  pgolf report demo no-gate --out ablation.html    two runs side by side, and which is better
  pgolf report pr792 --price-per-hour 23.92        with what its stages cost
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="names of runs, or their keys or a beginning of those")
    parser.add_argument("--out", type=given_path, metavar="FILE", help="default: RESULTS/reports/<run key>.html")
    parser.add_argument("--price-per-hour", type=float, metavar="MONEY", help="price of the machine, to show the cost")
    add_store(parser)
    add_results(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    price = arguments.price_per_hour
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ConfigError(f"--price-per-hour is {price}; give a price such as 23.92")
    path = write_report(
        arguments.runs,
        results_there(arguments),
        _store(arguments),
        out=arguments.out,
        price_per_hour=price,
        sentence=_sentence(arguments),
    )
    if arguments.json:
        hand_over(json.dumps({"report": str(path), "size_bytes": path.stat().st_size}, indent=2))
    else:
        show(f"report  {path}")
    return 0


def _sentence(arguments: argparse.Namespace) -> str | None:
    """What `pgolf compare` would say of several runs, the last one being the base; None where it would refuse them."""
    if len(arguments.runs) < 2:
        return None
    scores, runs = read(arguments.results, SCORES), runs_in(arguments.results)
    with suppress(PgolfError):
        declared = declared_seeds(arguments.results, scores)
        arms = [arm_of(asked, runs, scores, declared=declared) for asked in arguments.runs]
        # Losses by document take about as long as a mix: they are made where seeds alone give no interval or no answer.
        if min(len(arm.by_seed) for arm in arms) == 1 or len({arm.text.bytes for arm in arms}) > 1:
            with suppress(PgolfError), ExitStack() as stack:
                return _said(arms, workshop(arguments, stack))
        return _said(arms, "left to `pgolf compare`")
    return None


def _said(arms: Sequence[Arm], shop: Workshop | str) -> str:
    found = compare_runs(arms, RECORD_RULE, shop)
    over = [f"{note[0].upper()}{note[1:]}" for note in found.notes[:1]]
    return " ".join(f"{said}." for said in (*found.sentences, *over))


def _store(arguments: argparse.Namespace) -> Store | None:
    """The store, unless there is none: then the page is made of the tables alone."""
    if isinstance(arguments.store, Path) and not arguments.store.is_dir():
        return None
    return store_place(arguments, results=arguments.results.absolute()).open_store()
