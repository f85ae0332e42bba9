"""A recipe as it was asked for: with overrides, seeds, a name, tags and a note."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pgolf.errors import ConfigError
from pgolf.recipes.changed import differing_settings, name_of_changed
from pgolf.recipes.overrides import apply_overrides, validated
from pgolf.recipes.recipe import Recipe


def asked_recipe(
    named: Recipe,
    overrides: Sequence[str],
    given: Mapping[str, Any],
    *,
    fit: Callable[[Recipe], Recipe] = lambda recipe: recipe,
) -> Recipe:
    """The recipe that `named` becomes. given: seeds, run_name, tags and notes; None where nothing was said.

    fit: makes the recipe read the files that were given (`pgolf.recipes.own_files`).
    A run that nobody names is called by what it changes. Raises ConfigError for an unknown field or a bad value.
    """
    for override in overrides:
        if override.partition("=")[0].strip() in ("name", "description", "base"):
            raise ConfigError(
                f"--set {override}: results are filed under the recipe's own name; choose --results instead"
            )
    recipe = fit(apply_overrides(named, overrides))
    fields = {name: value for name, value in given.items() if value is not None}
    if "run_name" not in fields and (changed := differing_settings(recipe, named)) and not recipe.run_name:
        fields["run_name"] = name_of_changed(recipe, changed)
    return validated(Recipe, recipe.model_dump() | fields) if fields else recipe
