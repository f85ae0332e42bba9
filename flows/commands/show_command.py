"""`pgolf show`: the full configuration of a recipe, or of a run."""

import argparse
import json
import textwrap

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from flows.commands.arguments import add_json, add_recipe, add_results, recipe_of
from flows.commands.folding import folded
from flows.commands.streams import hand_over, show, tell
from pgolf.errors import ConfigError
from pgolf.pipeline.clock_limit import over_the_clock
from pgolf.recipes.catalog import RECIPES
from pgolf.recipes.overrides import apply_overrides, validated
from pgolf.recipes.recipe import Recipe
from pgolf.recipes.recipe_file import is_file_name
from pgolf.tables.named_runs import run_named, runs_in

EXAMPLES = """examples:
  pgolf show demo --set train.steps=200
  pgolf show no-gate                               the settings of a run, by its name or its key
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_recipe(parser)
    add_results(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print every field of the recipe with its value, and what it means."""
    recipe = _of_run(arguments) or recipe_of(arguments)
    if why := over_the_clock(recipe.train):
        tell(why)
    if arguments.json:
        hand_over(recipe.model_dump_json(indent=2))
        return 0
    _print_fields(recipe, "")
    return 0


def _of_run(arguments: argparse.Namespace) -> Recipe | None:
    """The recipe of the run that the word names; None where it names a recipe, or nothing that was run."""
    word = arguments.recipe
    if is_file_name(word) or word in RECIPES:
        return None
    runs = runs_in(arguments.results)
    if not runs:
        return None
    run = run_named(word, runs)
    if not run.config:
        raise ConfigError(f"{run.key} was filed by an earlier version, which kept no settings beside the tables")
    recipe = validated(Recipe, dict(run.config), f"the settings of {run.key}")
    said = [f"{run.name} ({run.key})", *([f"tags {' '.join(run.tags)}"] if run.tags else []), run.note]
    tell(textwrap.indent(f"run {'; '.join(filter(None, said))}", "# ", lambda _line: True))
    return apply_overrides(recipe, arguments.overrides)


def _print_fields(config: object, prefix: str) -> None:
    assert isinstance(config, BaseModel)
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            show("")
            show(folded(f"# {prefix}{name}: {info.description or ''}".rstrip(), indent="#   "))
            _print_fields(value, f"{prefix}{name}.")
            continue
        # Tuples may hold configs of their own.
        shown = json.dumps(to_jsonable_python(value), ensure_ascii=False)
        show(folded(f"{prefix + name:<36} {shown:<24} {info.description or ''}".rstrip()))
