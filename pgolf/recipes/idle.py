"""Settings that somebody has set and that nothing reads, because of others: they make nothing run again."""

from collections.abc import Iterator

from pgolf.recipes.changed import as_typed, without_idle
from pgolf.recipes.overrides import value_at
from pgolf.recipes.recipe import Recipe


def idle_notes(recipe: Recipe) -> Iterator[str]:
    """A sentence for each, in the spelling that a person types. Of what its base has set nothing is said."""
    unset = without_idle(recipe)
    for path, causes in recipe.idle_settings().items():
        if value_at(recipe, path) != value_at(unset, path):
            because = " and ".join(_typed(recipe, cause) for cause in causes)
            yield f"{_typed(recipe, path)} changes nothing: with {because} nothing reads it"


def _typed(recipe: Recipe, path: str) -> str:
    return f"{path}={as_typed(value_at(recipe, path))}"
