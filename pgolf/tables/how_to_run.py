"""The command that runs a configuration, as a person types it: recipe, every setting that differs, and seeds."""

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

# So many settings a sentence spells out.
_MOST_SAID = 3


def run_command(recipe: str, base: str | None, changed: Mapping[str, Any], seeds: Iterable[int | str]) -> str:
    """One line for a sentence: of many settings it says how many.

    base: the recipe of pgolf that it began as; changed: dotted name -> value of the settings that it changes of that.
    Where the files lie that a recipe reads, the tables do not say; the command asks for them.
    """
    named = ",".join(map(str, seeds))
    if base != recipe:
        return f"recipe {recipe} with --seeds {named}"
    if len(changed) > _MOST_SAID:
        return f"pgolf run {recipe} --seeds {named} with the {len(changed)} settings that were declared"
    return whole_commands(recipe, base, changed, named)[-1]


def whole_commands(recipe: str, base: str, changed: Mapping[str, Any], seeds: str) -> list[str]:
    """Lines for a shell, with every setting: of a recipe of somebody's own they make its file first."""
    words = [f"{path}={_typed(value)}" for path, value in changed.items()]
    sets = [part for word in words for part in ("--set", shlex.quote(word))]
    if recipe == base:
        return [" ".join(["pgolf run", recipe, *sets, "--seeds", seeds])]
    file = shlex.quote(f"{recipe}.toml")
    return [" ".join(["pgolf new", file, "--from", base, *sets]), f"pgolf run {file} --seeds {seeds}"]


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
