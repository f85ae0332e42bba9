"""What a run may be called: what can be typed, and what no command takes for something else."""

from pgolf.errors import ConfigError
from pgolf.recipes.catalog import RECIPES
from pgolf.recipes.recipe import why_not_typed
from pgolf.recipes.recipe_file import is_file_name


def refuse_run_name(name: str, recipe: str) -> None:
    """Raise ConfigError for text that is no name for a run of this recipe."""
    if why := why_not_typed(name) or ("a name has at least one character" if not name else ""):
        raise ConfigError(why)
    if is_file_name(name):
        raise ConfigError(f"{name} would be taken for a recipe's file; take one without / and without that ending")
    if name in RECIPES and name != recipe:
        raise ConfigError(f"{name} is a recipe of pgolf, and `pgolf show {name}` shows that; take another name")
