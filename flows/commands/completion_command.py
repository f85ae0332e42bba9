"""`pgolf completion`: a script by which a shell completes commands, options, recipes, settings and files."""

import argparse
import importlib.util

from flows.commands.streams import hand_over
from pgolf.errors import ConfigError
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.overrides import field_paths
from pgolf.recipes.recipe_file import ENDINGS

EXAMPLES = """examples:
  eval "$(pgolf completion bash)"                  in this shell
  pgolf completion bash > ~/.local/share/bash-completion/completions/pgolf
  pgolf completion zsh > "${fpath[1]}/_pgolf"
"""
_FILES, _FOLDERS = ("FILE", "PATH", "MODEL"), ("DIR", "DIR|URL")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="for which shell")


def execute(arguments: argparse.Namespace) -> int:
    """Write the script, which knows today's commands and recipes, and starts nothing when it completes."""
    if importlib.util.find_spec("shtab") is None:
        raise ConfigError("shtab is not installed; run `make setup` (or pip install shtab)")
    import shtab

    from flows.commands.cli import COMMANDS, parser

    top = parser(COMMANDS)
    for action in _actions(top):
        if action.metavar in _FILES:
            action.complete = shtab.FILE
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY
        elif action.dest in ("recipe", "base"):
            action.complete = dict.fromkeys(("bash", "zsh"), "_pgolf_recipes")
        elif action.dest == "overrides":
            action.complete = dict.fromkeys(("bash", "zsh"), "_pgolf_settings")
    hand_over(shtab.complete(top, shell=arguments.shell, preamble=_functions()))
    return 0


def _actions(top: argparse.ArgumentParser) -> list[argparse.Action]:
    """All arguments of all commands."""
    (commands,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    return [action for command in commands.choices.values() for action in command._actions]


def _functions() -> dict[str, str]:
    """Shell -> the functions that list recipes and settings."""
    recipes = " ".join(RECIPES)
    settings = " ".join(dict.fromkeys(path for name in RECIPES for path in field_paths(recipe_named(name))))
    files = "; ".join(f"compgen -f -X '!*{ending}' -- \"$1\"" for ending in ENDINGS)
    endings = "|".join(ending.removeprefix(".") for ending in ENDINGS)
    return {
        "bash": f'_pgolf_recipes() {{ compgen -W "{recipes}" -- "$1"; {files}; }}\n'
        f'_pgolf_settings() {{ compgen -W "{settings}" -- "$1"; }}\n',
        "zsh": f"_pgolf_recipes() {{ compadd -- {recipes}; _files -g '*.({endings})'; }}\n"
        f"_pgolf_settings() {{ compadd -- {settings}; }}\n",
    }
