"""Start-up time of whole processes with nothing to run: `import pgolf`, `pgolf plan` and a fully cached `pgolf run`.

Compared, in turns, with an interpreter that does nothing (`python -c pass`), one that only imports Prefect, and a plain
script that looks at the same files as a plan: the size of every file of the recipe's outputs, and the digest of their
records and of our own sources. Needs a store in which the recipe has run; otherwise it says so and exits with 2.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pgolf
from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s, ratios

PYTHON = (sys.executable, "-c")
PGOLF = (sys.executable, "-m", "flows.commands.cli")
OUR_SOURCES = [str(Path(pgolf.__file__).parents[1] / name) for name in ("pgolf", "tasks", "flows")]
# What any tool has to do that answers whether something changed, and no more. Arguments: folders.
STAT_AND_HASH = """
import hashlib, os, sys
for top in sys.argv[1:]:
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            os.stat(path)
            if name.endswith((".py", ".json")):
                with open(path, "rb") as file:
                    hashlib.sha256(file.read()).hexdigest()
"""


class NothingToReuse(Exception):
    """The store lacks outputs of the recipe for the current code."""


def run(command: Sequence[str]) -> str:
    """Output of the command, without the user's Prefect server, to which a run would report what it reused."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def check_reuse(pgolf_arguments: Sequence[str]) -> list[str]:
    """Names of the outputs that the plan reuses. Raises NothingToReuse unless it reuses every one."""
    steps = json.loads(run([*PGOLF, "plan", *pgolf_arguments, "--json"]))["steps"]
    todo = [step["node"] for step in steps if step["action"] != "reuse"]
    if todo:
        raise NothingToReuse(
            f"{len(todo)} of {len(steps)} outputs are not in the store (first {todo[0]}); "
            f"make them: pgolf run {shlex.join(pgolf_arguments)}"
        )
    return [step["folder"] for step in steps]


def measure(pgolf_arguments: Sequence[str], store: Path, repeats: int) -> list[Line]:
    """Seconds of every process and their ratios. Raises NothingToReuse."""
    folders = [str(store / folder) for folder in check_reuse(pgolf_arguments)] + OUR_SOURCES
    commands = (
        [*PYTHON, "pass"],
        [*PYTHON, "import prefect"],
        [*PYTHON, "import pgolf"],
        [*PYTHON, STAT_AND_HASH, *folders],
        [*PGOLF, "plan", *pgolf_arguments],
        [*PGOLF, "run", *pgolf_arguments],
    )
    works = [partial(run, command) for command in commands]
    for work in works:  # once untimed: fill the page cache, write bytecode
        work()
    bare_s, prefect_s, import_s, looked_s, plan_s, run_s = in_turns_s(works, repeats)
    beyond_s = [ours - bare for ours, bare in zip(import_s, bare_s, strict=True)]
    return [
        Line("python -c pass", "s", Spread.of(bare_s)),
        Line('python -c "import prefect"', "s", Spread.of(prefect_s)),
        Line('python -c "import pgolf"', "s", Spread.of(import_s), "<= 0.3"),
        Line("import pgolf: beyond python -c pass", "s", Spread.of(beyond_s), "<= 0.05"),
        Line("import pgolf: over python -c pass", "times", ratios(import_s, bare_s)),
        Line("stat and hash the same files", "s", Spread.of(looked_s)),
        Line("pgolf plan", "s", Spread.of(plan_s), "<= 0.5"),
        Line("pgolf plan: over stat and hash", "times", ratios(plan_s, looked_s)),
        Line("pgolf plan: over python -c pass", "times", ratios(plan_s, bare_s)),
        Line("pgolf plan: import prefect / plan", "times", ratios(prefect_s, plan_s)),
        Line("pgolf run, all reused", "s", Spread.of(run_s), "<= 3"),
        Line("pgolf run, all reused: over python -c pass", "times", ratios(run_s, bare_s)),
        Line("pgolf run, all reused: import prefect / run", "times", ratios(prefect_s, run_s)),
    ]


def recipe_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """What a benchmark of a recipe in a store is asked for; `pgolf`: the arguments that name recipe and places."""
    parser.add_argument("--store", type=Path, default=Path("artifacts"), help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: %(default)s")
    parser.add_argument("recipe", nargs="*", default=["demo"], help="recipe and, after --, its options (default: demo)")
    options = parser.parse_args(argv)
    options.pgolf = [*options.recipe, "--store", str(options.store), "--results", str(options.results)]
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code: 2 if the store lacks the recipe's outputs."""
    argv = sys.argv[1:] if argv is None else argv
    options = recipe_arguments(arguments_parser(__doc__ or "", repeats=7), argv)
    try:
        lines = measure(options.pgolf, options.store, options.repeats)
    except NothingToReuse as error:
        print(f"bench.start: {error}", file=sys.stderr)
        return 2
    title = f"start-up, pgolf {options.recipe[0]} with everything reused"
    show(
        Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.start", *argv]), lines), as_json=options.json
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
