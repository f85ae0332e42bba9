"""What a recipe changes of the one that it began as."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.recipe import ABOUT, Recipe

# So many settings a name says; of more, how many there are.
_MOST_SAID = 3
_MOST_CHARACTERS = 80


def changed_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that differ from those of the recipe of pgolf that it began as; empty where that is none."""
    base = _base(recipe)
    return {} if base is None else differing_settings(recipe, base)


def without_idle(recipe: Recipe) -> Recipe:
    """The recipe as if nobody had set what nothing reads: as its base has it, else at its default. It is the same run.

    So of equal runs the same is filed, in whatever order they came.
    """
    return recipe.as_read(_base(recipe))


def _base(recipe: Recipe) -> Recipe | None:
    return recipe_named(recipe.base) if recipe.base in RECIPES else None


def differing_settings(recipe: Recipe, other: Recipe) -> dict[str, Any]:
    """Dotted name -> value, as plain data, of every setting of a recipe that another has otherwise, seeds left out.

    A section that only one of the two has counts as one setting, and one that nothing reads as none.
    """
    found = _differing(recipe.as_read(other), other, "")
    return {path: value for path, value in found if path.partition(".")[0] not in (*ABOUT, "seeds")}


def _differing(mine: BaseModel, other: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in type(mine).model_fields:
        value, before = getattr(mine, name), getattr(other, name)
        if isinstance(value, BaseModel) and type(value) is type(before):
            yield from _differing(value, before, f"{prefix}{name}.")
        elif value != before:
            yield f"{prefix}{name}", to_jsonable_python(value)  # sections within lists, too


def default_name(recipe: Recipe) -> str:
    """What a run is called that nobody named: as its recipe; if that is one of pgolf's, with what it changes of it."""
    return name_of_changed(recipe, changed_settings(recipe) if recipe.name == recipe.base else {})


def name_of_changed(recipe: Recipe, changed: Mapping[str, Any]) -> str:
    """A recipe's name and some settings, as a person would type them: `demo gated_attention=false`."""
    said = [f"{path.rpartition('.')[2]}={as_typed(value)}" for path, value in changed.items()]
    text = " ".join([recipe.name, *said])
    if len(said) <= _MOST_SAID and len(text) <= _MOST_CHARACTERS:
        return text
    return f"{recipe.name} with {len(said)} settings changed"


def is_named(recipe: Recipe) -> bool:
    """Whether somebody has chosen what its runs are called: not in the form that `name_of_changed` gives."""
    own = rf"({re.escape(recipe.name)}( \w+=.*| with \d+ settings changed)?)?"
    return re.fullmatch(own, recipe.run_name) is None


def as_typed(value: Any) -> str:
    """A setting's value as a person would type it."""
    value = to_jsonable_python(value)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(map(as_typed, value)) or "[]"
    return json.dumps(value, separators=(",", ":"))
