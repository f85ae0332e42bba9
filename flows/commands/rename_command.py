"""`pgolf rename`: another name for a run, and its tags and note."""

import argparse
from dataclasses import replace

from flows.commands.arguments import add_results, results_there
from flows.commands.streams import show
from pgolf.errors import ConfigError
from pgolf.recipes.recipe import why_not_typed
from pgolf.recipes.run_names import refuse_run_name
from pgolf.tables.named_runs import name_run, refuse_taken, run_named, runs_in

EXAMPLES = """examples:
  pgolf rename demo-113d5f861218 no-gate
  pgolf rename no-gate no-gate --tag ablation --note "as no-gate, with the old tokenizer"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("run", metavar="RUN", help="its name, or its key or a beginning of that")
    parser.add_argument("name", metavar="NAME", help="what it is called from now on")
    parser.add_argument(
        "--tag", dest="tags", action="append", metavar="WORD", help="its tags, instead of those it has; '' for none"
    )
    parser.add_argument("--note", metavar="TEXT", help="its note, instead of the one it has")
    add_results(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Note the name; rows and outputs stay as they are."""
    runs = runs_in(results_there(arguments))
    run = run_named(arguments.run, runs)
    refuse_run_name(arguments.name, run.recipe)
    refuse_taken(arguments.name, run, runs)
    for why in filter(None, map(why_not_typed, arguments.tags or ())):
        raise ConfigError(why)
    given = {"tags": None if arguments.tags is None else tuple(filter(None, arguments.tags)), "note": arguments.note}
    changes = {name: value for name, value in given.items() if value is not None}
    name_run(arguments.results, replace(run, name=arguments.name, **changes))
    show(f"{run.key}: {run.name} → {arguments.name}")
    return 0
