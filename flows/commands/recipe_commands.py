"""`pgolf recipes` and `pgolf show`."""

import argparse
import json

from flows.commands.arguments import recipe_of
from pgolf.model.parameter_count import parameter_count
from pgolf.recipes.catalog import RECIPES
from pgolf.recipes.recipe import Recipe


def recipes(arguments: argparse.Namespace) -> int:
    """List the recipes."""
    listed = [make() for make in RECIPES.values()]
    if arguments.json:
        print(json.dumps([recipe_data(recipe) for recipe in listed], indent=2))
        return 0
    width = max(len(recipe.name) for recipe in listed)
    seeds_width = max(len(_seeds(recipe)) for recipe in listed)
    for recipe in listed:
        parameters = f"{parameter_count(recipe.model):,} parameters"
        print(f"{recipe.name:<{width}}  {parameters:>21}  {_seeds(recipe):<{seeds_width}}  {recipe.description}")
    return 0


def _seeds(recipe: Recipe) -> str:
    return f"seeds {' '.join(map(str, recipe.seeds))}"


def recipe_data(recipe: Recipe) -> dict[str, object]:
    """What `pgolf recipes --json` says of one recipe."""
    stages = ["fetch" if recipe.fetch else "tokenize", "train"]
    stages += ["calibrate"] if recipe.compress.needs_hessians else []
    counted = (["count"] if recipe.estimators else []) + (["hint"] if recipe.hint else [])
    return {
        "name": recipe.name,
        "description": recipe.description,
        "parameters": parameter_count(recipe.model),
        "seeds": list(recipe.seeds),
        "stages": [*stages, "compress", "score", *counted, "mix"],
    }


def show(arguments: argparse.Namespace) -> int:
    """Print every field of the recipe with its value, and what it means."""
    recipe = recipe_of(arguments)
    if arguments.json:
        print(recipe.model_dump_json(indent=2))
        return 0
    _print_fields(recipe, "")
    return 0


def _print_fields(config: object, prefix: str) -> None:
    from pydantic import BaseModel
    from pydantic_core import to_jsonable_python

    assert isinstance(config, BaseModel)
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            print(f"\n# {prefix}{name}: {info.description or ''}".rstrip())
            _print_fields(value, f"{prefix}{name}.")
            continue
        # Tuples may hold configs of their own.
        shown = json.dumps(to_jsonable_python(value))
        print(f"{prefix + name:<36} {shown:<24} {info.description or ''}".rstrip())
