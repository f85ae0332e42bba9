"""`pgolf rename`: another name for a run, and its tags and note."""

import argparse
from dataclasses import replace

from flows.commands.arguments import add_results, results_there
from flows.commands.streams import show
from pgolf.errors import ConfigError
from pgolf.recipes.recipe import MOST_NAME
from pgolf.tables.named_runs import name_run, run_named, runs_in

EXAMPLES = """examples:
  pgolf rename demo-113d5f861218 no-gate
  pgolf rename no-gate no-gate --tag ablation --note "as no-gate, with the old tokenizer"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("run", metavar="RUN", help="its name, or its key or a beginning of that")
    parser.add_argument("name", metavar="NAME", help="what it is called from now on")
    parser.add_argument("--tag", dest="tags", action="append", metavar="WORD", help="its tags, instead of those it has")
    parser.add_argument("--note", metavar="TEXT", help="its note, instead of the one it has")
    add_results(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Note the name; rows and outputs stay as they are."""
    runs = runs_in(results_there(arguments))
    run = run_named(arguments.run, runs)
    for text in (arguments.name, *(arguments.tags or ())):
        if not text.isprintable() or text != text.strip() or not text or text[0] == "-" or len(text) > MOST_NAME:
            raise ConfigError(f"{text!r:.60} cannot be typed as a name: printable, no blanks around it, no - first")
    if other := next((one for one in runs if one.key == arguments.name != run.key), None):
        raise ConfigError(
            f"{arguments.name} is the key of another run ({other.name}), which goes by it; take another name"
        )
    given = {"tags": None if arguments.tags is None else tuple(arguments.tags), "note": arguments.note}
    changes = {name: value for name, value in given.items() if value is not None}
    name_run(arguments.results, replace(run, name=arguments.name, **changes))
    show(f"{run.key}: {run.name} → {arguments.name}")
    return 0
