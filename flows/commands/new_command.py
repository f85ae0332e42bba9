"""`pgolf new`: a recipe file of one's own, with every field, its value and its meaning."""

import argparse
import os
from pathlib import Path

from flows.commands.arguments import add_set, given_path
from flows.commands.streams import show
from pgolf.errors import ConfigError
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe_file import find_recipe, is_file_name, recipe_from_file
from pgolf.recipes.recipe_text import recipe_text

EXAMPLES = """examples:
  pgolf new my.toml --from demo                    every field of demo, to be changed
  pgolf new wide.toml --from demo --set model.width=160 --set model.heads=5
  pgolf run my.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("file", type=given_path, metavar="FILE", help="what to write, e.g. my.toml")
    parser.add_argument(
        "--from", dest="base", default="demo", metavar="RECIPE", help="what it differs from (default: %(default)s)"
    )
    add_set(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Write the file, unless there is one, and read it back."""
    file: Path = arguments.file
    if file.suffix != ".toml":
        raise ConfigError(f"{file}: a recipe file's name ends in .toml; write {file.with_suffix('.toml')}")
    base = find_recipe(arguments.base)
    recipe = apply_overrides(base, arguments.overrides)
    if recipe.base != base.base:
        raise ConfigError(f"--set base={recipe.base}: what a recipe stands on is chosen with --from {recipe.base}")
    base_file = os.path.relpath(arguments.base, file.parent) if is_file_name(arguments.base) else None
    text = recipe_text(recipe, base, str(file), base_file)
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError:
        raise ConfigError(f"{file} is there already; choose another name, or remove it first") from None
    except OSError as error:
        if not file.parent.is_dir():
            raise ConfigError(
                f"{file}: there is no folder {file.parent}; make it first (mkdir -p {file.parent})"
            ) from None
        raise ConfigError(f"{file} cannot be written: {error.strerror}; name another folder") from None
    try:
        found = recipe_from_file(file)
    except ConfigError:
        file.unlink()
        raise
    assert found == recipe.model_copy(update={"name": found.name}), f"{file} does not say what was set"
    show(f"{file}: {found.name}, from {base_file or base.name}; `pgolf plan {file}` shows what it would run")
    return 0
