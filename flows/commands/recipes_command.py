"""`pgolf recipes`: list the recipes."""

import argparse
import json

from flows.commands.arguments import add_json
from flows.commands.folding import folded
from flows.commands.streams import hand_over, show
from pgolf.model.parameter_count import parameter_count
from pgolf.recipes.catalog import RECIPES
from pgolf.recipes.recipe import STAGES, Recipe

EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """List the recipes."""
    listed = [make() for make in RECIPES.values()]
    if arguments.json:
        hand_over(json.dumps([recipe_data(recipe) for recipe in listed], indent=2))
        return 0
    width = max(len(recipe.name) for recipe in listed)
    seeds_width = max(len(_seeds(recipe)) for recipe in listed)
    for recipe in listed:
        parameters = f"{parameter_count(recipe.model):,} parameters"
        show(folded(f"{recipe.name:<{width}}  {parameters:>21}  {_seeds(recipe):<{seeds_width}}  {recipe.description}"))
    return 0


def _seeds(recipe: Recipe) -> str:
    return f"seeds {' '.join(map(str, recipe.seeds))}"


def recipe_data(recipe: Recipe) -> dict[str, object]:
    """What `pgolf recipes --json` says of one recipe."""
    return {
        "name": recipe.name,
        "description": recipe.description,
        "parameters": parameter_count(recipe.model),
        "seeds": list(recipe.seeds),
        "stages": [stage.name for stage in STAGES.values() if recipe.config_of(stage) is not None],
    }
