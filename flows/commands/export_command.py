"""`pgolf export`: the files of a finished seed, counted on disk."""

import argparse
import json

from flows.commands.arguments import add_json, add_places, add_recipe, given_path, place_of, recipe_of, store_there
from flows.commands.streams import show
from pgolf.errors import ConfigError
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.plan import make_plan
from pgolf.pipeline.revisions import pin
from pgolf.submission.export import export

EXAMPLES = """examples:
  pgolf export pr792 --seed 42 --out submission        script and model of a finished seed, counted on disk
  cd submission && python train_gpt.py eval --data DIR
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_recipe(parser)
    parser.add_argument("--seed", type=int, metavar="N", help="which of the recipe's seeds (default: the first)")
    parser.add_argument("--out", type=given_path, required=True, metavar="DIR", help="a folder that is not there yet")
    add_places(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Write script and model; 0 if they fit the budget, 1 if they do not. Raises ConfigError for an unfinished seed."""
    recipe = recipe_of(arguments)
    place = place_of(arguments, recipe)
    seed = recipe.seeds[0] if arguments.seed is None else arguments.seed
    store, memo = store_there(arguments, place), place.memo()
    pinned = pin(recipe.fetch, store, place.sources())
    pinned.refuse_unasked()
    recipe = pinned.of(recipe)
    steps = {
        step.node.name: step for step in make_plan(pipeline(recipe, place.sources(), place.run_options()), store, memo)
    }
    step = steps.get(f"compress[{seed}]")
    if step is None:
        raise ConfigError(f"{recipe.name} has no seed {seed}; it has {', '.join(map(str, recipe.seeds))}")
    if step.artifact is None:
        raise ConfigError(
            f"{step.node.name} is not finished ({'; '.join(step.reasons)}); pgolf run {recipe.name} first"
        )
    exported = export(recipe, store.fetch(step.artifact), arguments.out.absolute())
    left_bytes = exported.budget_bytes - exported.total_bytes
    verdict = f"{left_bytes:,} under" if exported.fits_budget else f"{-left_bytes:,} OVER"
    if arguments.json:
        fields = ("code_bytes", "artifact_bytes", "total_bytes", "budget_bytes", "fits_budget")
        show(
            json.dumps({"folder": str(exported.folder)} | {name: getattr(exported, name) for name in fields}, indent=2)
        )
    else:
        show(
            f"{exported.folder}\n"
            f"  train_gpt.py {exported.code_bytes:>12,} B\n"
            f"  model.pgolf  {exported.artifact_bytes:>12,} B\n"
            f"  together     {exported.total_bytes:>12,} B, {verdict} the budget of {exported.budget_bytes:,}"
        )
    return 0 if exported.fits_budget else 1
