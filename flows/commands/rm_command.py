"""`pgolf rm`: take runs out of the tables, or back into them."""

import argparse
import json
import sys

from flows.commands.arguments import add_json, add_results, results_there
from flows.commands.streams import hand_over, show, tell
from pgolf.errors import ConfigError
from pgolf.tables.named_runs import run_named, runs_in
from pgolf.tables.removed import remove_run, removed_runs, take_back

EXAMPLES = """examples:
  pgolf rm no-gate                                 its rows, pictures and pages leave; its outputs stay until `pgolf gc`
  pgolf rm no-gate --restore                       and they are back
  pgolf rm --restore                               what can be taken back
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="by name or key, or a beginning of that")
    parser.add_argument("--yes", action="store_true", help="do not ask on a terminal")
    parser.add_argument("--restore", action="store_true", help="take back what was removed")
    add_results(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Move the runs' files. Returns 1 where a person said no."""
    results = results_there(arguments)
    if arguments.restore:
        if not arguments.runs:
            return _list_removed(arguments)
        back = [take_back(results, text) for text in arguments.runs]
        _report(arguments, "restored", {run.key: run.name for run in back})
        return 0
    if not arguments.runs:
        raise ConfigError("name the runs to remove: `pgolf rm RUN`; `pgolf results --table runs` lists them")
    known = runs_in(results)
    runs = {run.key: run for run in (run_named(text, known) for text in arguments.runs)}
    if not arguments.yes and sys.stdin.isatty():
        named = ", ".join(key if run.name == key else f"{run.name} ({key})" for key, run in runs.items())
        tell(f"remove {named} from the tables of {results}? [y/N] ", end="")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            tell("nothing was removed")
            return 1
    for run in runs.values():
        remove_run(results, run)
    _report(arguments, "removed", {key: run.name for key, run in runs.items()})
    if not arguments.json:
        show("their outputs stay until `pgolf gc`; `pgolf rm RUN --restore` takes a run back")
    return 0


def _list_removed(arguments: argparse.Namespace) -> int:
    removed = removed_runs(arguments.results)
    if arguments.json:
        hand_over(json.dumps({"removed": {run.key: run.name for run in removed}}, indent=2))
    for run in [] if arguments.json else removed:
        show(f"{run.key}  {run.name}")
    if not removed:
        tell("nothing was removed that could be taken back")
    return 0


def _report(arguments: argparse.Namespace, what: str, runs: dict[str, str]) -> None:
    if arguments.json:
        hand_over(json.dumps({what: runs}, indent=2))
        return
    for key, name in runs.items():
        show(f"{what}  {key}  {name}")
