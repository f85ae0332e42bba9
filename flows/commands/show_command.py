"""`pgolf show`: a recipe's full configuration."""

import argparse
import json

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from flows.commands.arguments import add_json, add_recipe, recipe_of
from flows.commands.streams import hand_over, show, tell
from pgolf.pipeline.clock_limit import over_the_clock

EXAMPLES = """examples:
  pgolf show demo --set train.steps=200
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_recipe(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print every field of the recipe with its value, and what it means."""
    recipe = recipe_of(arguments)
    if why := over_the_clock(recipe.train):
        tell(why)
    if arguments.json:
        hand_over(recipe.model_dump_json(indent=2))
        return 0
    _print_fields(recipe, "")
    return 0


def _print_fields(config: object, prefix: str) -> None:
    assert isinstance(config, BaseModel)
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            show(f"\n# {prefix}{name}: {info.description or ''}".rstrip())
            _print_fields(value, f"{prefix}{name}.")
            continue
        # Tuples may hold configs of their own.
        shown = json.dumps(to_jsonable_python(value))
        show(f"{prefix + name:<36} {shown:<24} {info.description or ''}".rstrip())
