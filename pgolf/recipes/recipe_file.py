"""Recipes in files of one's own: TOML that says what differs from another recipe, or a program that makes one.

    base = "pr792"                    # a recipe of `pgolf recipes`, or another such file
    seeds = [1, 2, 3]
    [train]
    steps = 2000
    clock_limit_s = "none"            # TOML has no word for it

A program, `my.py`, has a function `recipe()` that returns one. Its code is in no stage's key, only what it returns.
"""

import difflib
import inspect
import json
import os
import re
import sys
import tomllib
import traceback
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from pgolf.errors import ConfigError
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.overrides import meant_by_text, section_in, validated, with_values
from pgolf.recipes.recipe import Recipe
from pgolf.store.plain_file import read_plain

ENDINGS = (".toml", ".py")
NONE = "none"
_MOST_FILE_BYTES = 1 << 20
_MOST_BASES = 20
# Characters of the lines of one error; the first is shown in any case.
_MOST_SAID = 450
_FUNCTION = "recipe"
# The files that are being read, each asked for by the one before: as its base, or by a program.
_UNDER_WAY: ContextVar[tuple[Path, ...]] = ContextVar("_UNDER_WAY", default=())


def is_file_name(text: str) -> bool:
    """Whether a recipe is asked for by a file, and not by a name of the catalog."""
    return text.endswith(ENDINGS) or "/" in text


def find_recipe(text: str) -> Recipe:
    """The recipe of a name, or of a file. Raises ConfigError with the nearest names, and for a file that is none."""
    if is_file_name(text):
        return recipe_from_file(Path(text))
    beside = [name for ending in ENDINGS if os.path.isfile(name := f"{text}{ending}")]  # of no name an error
    if text not in RECIPES and beside:
        raise ConfigError(f"no recipe {text}; did you mean the file {beside[0]}?")
    return recipe_named(text)


def recipe_from_file(path: Path) -> Recipe:
    """The recipe that a file describes; named after the file unless it says otherwise.

    Raises ConfigError for a file that cannot be read or is no recipe, and for one that goes by a name of the catalog
    and is another.
    """
    found = _from_file(path)
    if _takes_a_name_of_pgolf(found):
        mine = f"my-{found.name}"
        add = f'name = "{mine}"' if path.suffix == ".toml" else f'.model_copy(update={{"name": "{mine}"}}) to it'
        raise ConfigError(f"{path}: {found.name} is the name of a recipe of pgolf, and this is another; add {add}")
    return found


def _takes_a_name_of_pgolf(recipe: Recipe) -> bool:
    return recipe.name in RECIPES and recipe not in (RECIPES[recipe.name](), recipe_named(recipe.name))


def _from_file(path: Path) -> Recipe:
    before = _UNDER_WAY.get()
    try:
        here = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a name that is too long, a NUL, links in a circle
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: the recipe cannot be looked up ({why}); name another file") from None
    if here in before:
        cycle = " → ".join(step.name for step in (*before[before.index(here) :], here))
        raise ConfigError(f"{path}: its bases go round in a circle ({cycle}); base one of them on a recipe of pgolf")
    if len(before) >= _MOST_BASES:
        raise ConfigError(f"{path}: more than {_MOST_BASES} files stand on one another; base it on one further down")
    under_way = _UNDER_WAY.set((*before, here))
    try:
        if path.suffix == ".toml":
            return _from_toml(path)
        if path.suffix == ".py":
            return _from_program(path)
    finally:
        _UNDER_WAY.reset(under_way)
    raise ConfigError(f"{path} is no recipe; its name must end in {' or '.join(ENDINGS)}")


def _from_toml(path: Path) -> Recipe:
    said = _read_toml(path)
    base = said.pop("base", None)
    if not isinstance(base, str):
        what = "has no base" if base is None else f"base is {base!r:.60}"
        raise ConfigError(f'{path}: {what}; begin with base = "NAME", one of {", ".join(RECIPES)}, or another file')
    try:
        recipe = _from_file(path.parent / base) if is_file_name(base) else recipe_named(base)
        named = said.pop("name", None) or _name_of(path)
        changed = with_values(recipe, _settings(recipe, said, ""))
        return validated(Recipe, changed.model_dump() | {"name": named})
    except ConfigError as error:
        raise _of_file(path, error) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        # Some editors begin a file with a byte order mark.
        return tomllib.loads(read_plain(path, most_bytes=_MOST_FILE_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: the recipe cannot be read ({error.strerror}); name another file") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, nested too deep
        raise ConfigError(f"{path} is not TOML: {error}; `pgolf new my-{path.name}` writes one that is") from None


def _settings(level: BaseModel, said: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted names and values; a table that is a section of `level` changes the fields that it names."""
    # Its kind says which fields a section has.
    for name, value in sorted(said.items(), key=lambda item: item[0] != "kind"):
        field = type(level).model_fields.get(name)
        now = getattr(level, name, None)
        if (
            field is not None
            and isinstance(value, dict)
            and (now is None or value.get("kind") not in (None, _kind(now)))
        ):
            now = section_in(field.annotation, None, name, value)
        if isinstance(now, BaseModel) and isinstance(value, dict):
            yield from _settings(now, value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if field is None else _meant(name, value, field.annotation)


def _kind(section: BaseModel) -> Any:
    return getattr(section, "kind", None)


def _meant(name: str, value: Any, annotation: Any) -> Any:
    """A text where none is wanted, as `--set` reads it, for what TOML cannot say: "2..9", "0:0.6:0.05"; "none" is no
    value. Raises ConfigError for text in the place of what TOML can say: "20", "true".
    """
    if not isinstance(value, str):
        return value
    kinds = _alternatives(annotation)
    if value == NONE and type(None) in kinds and NONE not in kinds:
        return None
    if str in kinds or any(isinstance(kind, str) for kind in kinds):
        return value
    return meant_by_text(name, value)


def _alternatives(annotation: Any) -> list[Any]:
    """What an annotation allows: types, and the words of literals."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) is not None and get_origin(annotation) not in (tuple, list, dict):
        return [found for part in get_args(annotation) for found in _alternatives(part)]
    return [annotation]


def _name_of(path: Path) -> str:
    """The file's name as one of a recipe: of accents the letter stays. Raises ConfigError where letters would go."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", path.stem.lower()) if not unicodedata.combining(one))
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not name[:1].isalpha() or any(one.isalnum() and not one.isascii() for one in plain):
        mine = f"my-{name}" if name else "my-own"
        raise ConfigError(f'a recipe is named with a to z, 0 to 9 and -, a letter first; add name = "{mine}"')
    return name


def _from_program(path: Path) -> Recipe:
    """Run a file and call its function. Its module is not kept: it is no part of what runs."""
    module = ModuleType(f"recipe file {path}")
    module.__file__ = str(path)
    try:
        source = read_plain(path, most_bytes=_MOST_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: the recipe cannot be read ({error.strerror}); name another file") from None
    sys.path.insert(0, str(path.parent.resolve()))  # as Python does for a script
    try:
        with redirect_stdout(sys.stderr):  # a command's own output is for those who asked for it
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
        function = getattr(module, _FUNCTION, None)
        if not callable(function):
            defined = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            near = difflib.get_close_matches(_FUNCTION, defined, n=1)
            hint = f"; did you mean {near[0]}()?" if near else ""
            raise ConfigError(f"{path}: no function {_FUNCTION}() that returns a Recipe{hint}")
        with redirect_stdout(sys.stderr):
            made = function()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path}:{_line_in(path, error)}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if inspect.iscoroutine(made):
        made.close()  # or Python warns that nobody waited for it
        raise ConfigError(f"{path}: {_FUNCTION}() is async, and nobody waits for it; write def {_FUNCTION}() instead")
    if not isinstance(made, Recipe):
        raise ConfigError(f"{path}: {_FUNCTION}() returned a {type(made).__name__}; return a pgolf Recipe")
    try:
        # Copies of a recipe with other values (`model_copy`) are not checked when they are made.
        found = validated(Recipe, _plain_data(made))
        # As a file that says no name: named after it.
        return found.model_copy(update={"name": _name_of(path)}) if _takes_a_name_of_pgolf(found) else found
    except ConfigError as error:
        raise _of_file(path, error) from None


def _plain_data(made: Recipe) -> dict[str, Any]:
    try:
        # By way of JSON, which every run is filed as.
        found: dict[str, Any] = json.loads(made.model_dump_json(warnings=False))
        return found
    except Exception as error:  # whatever stands in the place of its values
        raise ConfigError(f"{_FUNCTION}() returned a Recipe with unreadable values ({error})") from error


def _of_file(path: Path, error: ConfigError) -> ConfigError:
    """The error with the file's name, once: a name may be long, and the lines many."""
    lines = str(error).splitlines()
    shown = [f"{path}: {lines[0]}"]
    while len(shown) < len(lines) and sum(map(len, shown)) + len(lines[len(shown)]) < _MOST_SAID:
        shown.append(f"  {lines[len(shown)]}")
    left = len(lines) - len(shown)
    return ConfigError(*shown, *([f"  and {left} more lines"] if left else []))


def _line_in(path: Path, error: BaseException) -> int:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 0
    lines = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else 0
