"""`pgolf import`: take in weights that a published script has trained."""

import argparse
import shlex

from flows.commands.arguments import (
    add_checkpoint_steps,
    add_json,
    add_set,
    add_store,
    given_path,
    steps_by_seed,
)
from flows.commands.single_output import build_output
from flows.commands.streams import tell
from pgolf.pipeline.graph import Sources, import_node
from pgolf.pipeline.place import default_store
from pgolf.recipes.overrides import apply_overrides, validated
from pgolf.recipes.recipe import Recipe
from pgolf.recipes.recipe_file import find_recipe

EXAMPLES = """examples:
  pgolf import final_model.pt --recipe pr715           check it and take it in
  pgolf run pr715 --seeds 1337 --checkpoint final_model.pt
  pgolf run pr792 --seeds 1337 42 --checkpoint 1337=a.pt --checkpoint 42=b.pt \\
    --checkpoint-steps 1337=5243 --checkpoint-steps 42=5244
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("file", type=given_path, metavar="FILE", help="final_model.pt, or a .safetensors file")
    parser.add_argument("--recipe", required=True, metavar="RECIPE", help="the recipe whose network it is")
    parser.add_argument("--seed", type=int, metavar="N", help="the seed it was trained with (default: the first)")
    add_checkpoint_steps(parser)
    add_set(parser)
    add_store(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Take in the weights, and say how to go on with them."""
    recipe = apply_overrides(find_recipe(arguments.recipe), arguments.overrides)
    seed = recipe.seeds[0] if arguments.seed is None else arguments.seed
    recipe = validated(Recipe, recipe.model_dump() | {"seeds": [seed]})
    sources = Sources(
        checkpoints={seed: arguments.file.absolute()},
        checkpoint_steps=steps_by_seed(arguments.checkpoint_steps, recipe),
    )
    build_output(import_node(recipe, seed, sources), arguments)
    tell(f"go on with: pgolf {shlex.join(run_with(arguments, recipe.name, seed))}")
    return 0


def run_with(arguments: argparse.Namespace, recipe: str, seed: int) -> list[str]:
    """The words of the `pgolf` command that runs a recipe on weights as they were imported with these arguments."""
    again = ["run", recipe, "--seeds", str(seed), "--checkpoint", str(arguments.file)]
    again += [part for steps in arguments.checkpoint_steps for part in ("--checkpoint-steps", steps)]
    again += [part for override in arguments.overrides for part in ("--set", override)]
    again += ["--store", str(arguments.store)] if arguments.store != default_store() else []
    for option, value in (("--cache", arguments.cache), ("--cache-limit", arguments.cache_limit)):
        again += [option, str(value)] if value is not None else []
    return again
