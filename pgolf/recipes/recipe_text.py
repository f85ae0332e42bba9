"""A recipe as the text of a file, for `pgolf new`: what differs from its base is set, all else is a comment.

Every field has its value and its meaning beside it, so that a recipe is written by taking away `#`.
"""

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pgolf.recipes.recipe import Recipe
from pgolf.recipes.recipe_file import NONE

_WIDTH = 100
_MEANING_AT = 44


def recipe_text(recipe: Recipe, base: Recipe, file_name: str, base_file: str | None = None) -> str:
    """TOML that `recipe_from_file` reads as `recipe`, under the name of the file unless it is another than the base's.

    base_file: where the base is read from, as seen from the file's folder; None for one of pgolf.
    """
    base_name = base.name if base_file is None else base_file
    lines = [
        f"# A recipe of one's own. What is not set here is as in {base_name}: take a # away and change the value.",
        f"#     pgolf plan {file_name}         what would run, and why",
        f"#     pgolf run {file_name}",
        "",
        f"base = {_value(base_name)}",
    ]
    lines += [] if recipe.name == base.name else [f"name = {_value(recipe.name)}"]
    for name in Recipe.model_fields:
        mine, others = getattr(recipe, name), getattr(base, name)
        is_section = isinstance(mine, BaseModel) or (mine is None and others is None)
        if name not in ("name", "base") and not is_section:
            lines += _field(name, recipe, base)
    for name in Recipe.model_fields:
        lines += _section(name, getattr(recipe, name), getattr(base, name), Recipe.model_fields[name].description)
    return "\n".join(lines) + "\n"


def _section(path: str, mine: Any, others: Any, meaning: str | None) -> Iterator[str]:
    if not isinstance(mine, BaseModel):
        return
    yield ""
    yield from textwrap.wrap(meaning or "", _WIDTH, initial_indent="# ", subsequent_indent="# ")
    yield f"[{path}]"
    alike = others if type(others) is type(mine) else None
    inner = []
    for name in type(mine).model_fields:
        if isinstance(getattr(mine, name), BaseModel):
            inner.append(name)
        else:
            yield from _field(name, mine, alike)
    for name in inner:
        about = type(mine).model_fields[name].description
        yield from _section(f"{path}.{name}", getattr(mine, name), getattr(alike, name, None), about)


def _field(name: str, mine: BaseModel, others: BaseModel | None) -> Iterator[str]:
    value = getattr(mine, name)
    is_same = others is not None and getattr(others, name) == value
    setting = f"{'# ' if is_same else ''}{name} = {_value(value)}"
    meaning = type(mine).model_fields[name].description or ""
    yield f"{setting:<{_MEANING_AT}}  # {' '.join(meaning.split())}".rstrip(" #") if meaning else setting


def _value(value: Any) -> str:
    """A value in TOML."""
    if value is None:
        return _value(NONE)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_value(inner)}" for name, inner in value.items() if inner is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, int | float):
        return repr(value)
    return _value(to_jsonable_python(value))
