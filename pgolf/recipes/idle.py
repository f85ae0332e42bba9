"""Settings that somebody has set and that nothing reads, because of others: they make nothing run again."""

from collections.abc import Iterator

from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.changed import as_typed
from pgolf.recipes.overrides import value_at
from pgolf.recipes.recipe import Recipe


def idle_notes(recipe: Recipe) -> Iterator[str]:
    """A sentence for each, in the spelling that a person types. Of what its base has set nothing is said."""
    base = recipe_named(recipe.base) if recipe.base in RECIPES else recipe
    at_rest = recipe.as_read()
    for path, causes in recipe.idle_settings().items():
        value = value_at(recipe, path)
        if value != value_at(at_rest, path) and (base is recipe or value != value_at(base, path)):
            because = " and ".join(f"{cause}={as_typed(value_at(recipe, cause))}" for cause in causes)
            yield f"{path}={as_typed(value)} changes nothing: with {because} nothing reads it"
