"""`pgolf bundle`: the self-contained script of a recipe."""

import argparse
import json
import os
from pathlib import Path

from flows.commands.arguments import add_json, add_recipe, given_path, recipe_of
from flows.commands.streams import hand_over, show
from pgolf.bundle.bundle import built
from pgolf.bundle.explain import map_path, write_map
from pgolf.bundle.sizes import sizes, text_of
from pgolf.errors import ConfigError

EXAMPLES = """examples:
  pgolf bundle pr792 --out train_gpt.py                the code whose bytes count, in one file
  pgolf bundle pr745 --sizes                           what takes the bytes
  SEED=42 torchrun --standalone --nproc_per_node=8 train_gpt.py        trains, packs and evaluates the data below .
  python train_gpt.py eval --data DIR                  beside model.pgolf: the scores of the pipeline, to the last digit
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_recipe(parser)
    parser.add_argument(
        "--out",
        type=given_path,
        default=Path("train_gpt.py"),
        metavar="FILE",
        help="what to write (default: %(default)s)",
    )
    parser.add_argument("--sizes", action="store_true", help="print what takes the bytes instead of writing the file")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Write the script, whole or not at all, and say how many bytes of the budget it takes."""
    recipe = recipe_of(arguments)
    made = built(recipe)
    script, out = made.script, arguments.out
    if arguments.sizes:
        show(text_of(sizes(recipe)))
        return 0
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: no folder {out.parent}")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    unfinished.write_bytes(script)
    os.replace(unfinished, out)
    write_map(made, map_path(out))
    budget = recipe.compress.budget_bytes
    if arguments.json:
        hand_over(json.dumps({"path": str(out), "code_bytes": len(script), "budget_bytes": budget}))
    else:
        show(f"{out}  {len(script):,} B of code, {budget - len(script):,} B of {budget:,} left for the model")
    return 0
