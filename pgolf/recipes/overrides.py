"""Overrides such as `--set train.steps=200`: change config fields by name, with a suggestion for a wrong name."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError, create_model

from pgolf.errors import ConfigError
from pgolf.recipes.complaints import complaints, cut, sections_in, shown

Model = TypeVar("Model", bound=BaseModel)
INTEGER_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})")
FLOAT_RANGE = re.compile(r"([^:,\s]+):([^:,\s]+):([^:,\s]+)")
MOST_VALUES = 1_000_000
# Beyond it not every whole number has a float of its own.
_MOST_EXACT = 2.0**53
_YES_NO = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}


def parse_value(text: str) -> Any:
    """The value a person means by `text`.

    JSON where it is JSON; `2..7` the integers 2 to 7; `0:0.6:0.05` the numbers from 0 to 0.6 in steps of 0.05, both
    ends included; `a,b` a list of values; anything else the text itself. Raises ConfigError for an empty range, and for
    brackets in brackets beyond what Python reads.
    """
    try:
        return _value(text)
    except RecursionError:
        raise ConfigError(f"{cut(text)} has brackets in brackets too deep to be read; write it flatter") from None


def typed_value(text: str) -> Any:
    """As `parse_value`, but whole numbers are integers however they are written: 1e3, 20.0, 2:7:1.

    A number that a person types has no kind; a field for numbers with fractions takes integers too.
    """
    return _with_integers(parse_value(text))


def _with_integers(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_integers(one) for one in value]
    if isinstance(value, dict):
        return {name: _with_integers(one) for name, one in value.items()}
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= _MOST_EXACT
    return int(value) if is_whole else value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    if match := INTEGER_RANGE.fullmatch(text):
        first, last = int(match[1]), int(match[2])
        if not 0 <= last - first < MOST_VALUES:
            raise ConfigError(f"{text} is a range of {last - first + 1} integers; write FIRST..LAST with FIRST ≤ LAST")
        return list(range(first, last + 1))
    if match := FLOAT_RANGE.fullmatch(text):
        return _float_range(text, *match.groups())
    if text.startswith("(") and text.endswith(")"):  # as Python writes a tuple
        text = text[1:-1] + ","
    if "," in text:
        return [_value(part.strip()) for part in text.split(",") if part.strip()]
    return text


def meant_by_text(name: str, text: str) -> Any:
    """As `typed_value`, of a text that stands for a value in a TOML file, for what TOML cannot say: "2..9", "null".

    Raises ConfigError for text in the place of what TOML can say: "20", "true", "0.4,0.5".
    """
    meant = typed_value(text)
    parts = [part.strip() for part in text.strip("()").split(",")]
    if any(INTEGER_RANGE.fullmatch(part) or FLOAT_RANGE.fullmatch(part) for part in parts):
        return meant
    if all(isinstance(member, str | None) for member in (meant if isinstance(meant, list) else [meant])):
        return meant
    raise ConfigError(f"{name} = {json.dumps(text)} is text; write {name} = {json.dumps(meant)} without the quotes")


def _float_range(text: str, *ends: str) -> list[float]:
    try:
        first, last, step = (float(end) for end in ends)
        steps = (last - first) / step
        whole = round(steps)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ConfigError(f"{cut(text)} is not a range; write FIRST:LAST:STEP, e.g. 0:0.6:0.05") from None
    if not 0 <= whole < MOST_VALUES or abs(steps - whole) > 1e-6:
        raise ConfigError(f"{text}: {steps:g} steps from {first:g} to {last:g}; choose a step that divides the range")
    # Rounded to 12 digits, so that 0.05 * 3 is the 0.15 a person would have written: it names a cell and enters a key.
    return [round(first + i * step, 12) for i in range(whole + 1)]


def apply_overrides(config: Model, overrides: Sequence[str]) -> Model:
    """`config` with each "path.to.field=value" applied, checked as a whole.

    Raises ConfigError for a text without "=", an unknown name (with the nearest ones), or a value of the wrong type.
    """
    values = []
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"{shown(override)} is not NAME=VALUE; write e.g. --set train.steps=200")
        path, text = path.strip(), text.strip()
        is_flag = isinstance(value_at(config, path), bool) and text.lower() in _YES_NO
        values.append((path, _YES_NO[text.lower()] if is_flag else typed_value(text)))
    return with_values(config, values)


def value_at(config: BaseModel, path: str) -> Any:
    """The value at a dotted name; None where there is none."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name, None) if isinstance(value, BaseModel) else None
    return value


def override_section(name: str, section: Model, overrides: Sequence[str]) -> Model:
    """One section with its overrides, by the names that they have in a recipe; there the section's may be left out."""
    alone = create_model("Settings", **{name: (type(section), ...)})  # type: ignore[call-overload]
    whole = [text if text.startswith(f"{name}.") else f"{name}.{text}" for text in overrides]
    changed: Model = getattr(apply_overrides(alone(**{name: section}), whole), name)
    return changed


def with_values(config: Model, values: Iterable[tuple[str, Any]]) -> Model:
    """`config` with a value at each dotted name, checked as a whole. Raises ConfigError like `apply_overrides`."""
    data = config.model_dump()
    for path, value in values:
        _place(config, data, path, value)
    return validated(type(config), data)


def validated(model: type[Model], data: Any, where: str = "") -> Model:
    """`data` as `model`. Raises ConfigError with one line per wrong field."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(complaints(error, model, where))) from None
    except (ValueError, RecursionError) as error:  # what cannot even be told of: text without a form in UTF-8
        raise ConfigError(f"{where or model.__name__}: {error}") from None


def _place(config: BaseModel, data: dict[str, Any], path: str, value: Any) -> None:
    names = path.split(".")
    level: Any = config
    for depth, name in enumerate(names):
        fields = type(level).model_fields if isinstance(level, BaseModel) else {}
        if name not in fields:
            raise ConfigError(_unknown(config, path, names[:depth], name, level))
        now = getattr(level, name)
        if depth == len(names) - 1:
            if isinstance(value, bool) and not isinstance(now, bool | BaseModel | None):
                raise ConfigError(f"{path}={str(value).lower()}: {path} is {shown(now)}, not yes or no")
            kinds = _kinds(fields[name].annotation)
            if tuple in kinds and not isinstance(value, list | tuple | None):
                value = [value]  # of one member
            if name == "kind" and value != now:
                data.clear()  # a section of another kind has other fields, and begins with their defaults
            data[name] = value
            return
        level, below = now, data[name]
        if below is None or (isinstance(below, dict) and (level is None or below.get("kind") != _kind(level))):
            # A section that an override before this one has brought in, or that this one does.
            asked = {names[depth + 1]: value if depth + 2 == len(names) else {}}
            level = section_in(fields[name].annotation, below, ".".join(names[: depth + 1]), asked)
            if level is not None and below is None:
                kind = _kind(level)
                below = data[name] = {} if kind is None else {"kind": kind}
        data = below
        if isinstance(level, BaseModel) and not isinstance(data, dict):
            raise ConfigError(f"{path}: {'.'.join(names[: depth + 1])} was set to {shown(data)} before")


def section_in(
    annotation: Any, data: Mapping[str, Any] | None, where: str, asked: Mapping[str, Any] | None = None
) -> BaseModel | None:
    """The data, or the defaults, as the section that a field may hold.

    asked: what is to be set in it. Of several kinds it is the one that `kind` names, or else the first that has these
    fields. None where no kind does, and where there are no data and not everything has a default.
    """
    said = {**(data or {}), **(asked or {})}
    for section in sections_in(annotation):
        kind = section.model_fields.get("kind")
        words = get_args(kind.annotation) if kind is not None else ()
        if said.get("kind") in (*words, None) and (data is not None or said.keys() <= section.model_fields.keys()):
            given = {**({"kind": words[0]} if words else {}), **(data or {})}
            needed = {name for name, field in section.model_fields.items() if field.is_required()}
            return validated(section, given, where) if data is not None or needed <= given.keys() else None
    return None


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field may hold, tuples without their members."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return set[Any]().union(*map(_kinds, get_args(annotation)))
    return {get_origin(annotation) or annotation}


def _kind(section: BaseModel) -> Any:
    return getattr(section, "kind", None)


def _unknown(config: BaseModel, path: str, before: list[str], name: str, level: Any) -> str:
    prefix = ".".join(before)
    if level is None:
        return f"{cut(path)}: there is no {prefix} here; give it as a whole, as in --set '{prefix}={{\"{name}\": …}}'"
    if not isinstance(level, BaseModel):
        return f"{cut(path)}: {prefix} is {shown(level)} and has no fields"
    known, paths = list(type(level).model_fields), field_paths(config)
    rest = path.split(".")[len(before) + 1 :]
    sections = [one for one in known if isinstance(getattr(level, one), BaseModel | None)]
    near = difflib.get_close_matches(name.lower(), sections, n=1, cutoff=0.7)
    close = [] if rest else [full for full in paths if _last(full) == name][:3]  # of another section
    if not close and near:
        section = ".".join([*before, near[0]])
        whole = ".".join([section, *rest])
        close = [whole if whole in paths else section]
    if not close and before:
        close = [f"{prefix}.{match}" for match in difflib.get_close_matches(name, known, n=3, cutoff=0.6)]
    if not close:
        names = dict.fromkeys(map(_last, paths))
        # Of many names some are a little alike by chance.
        matches = difflib.get_close_matches(name, names, n=3, cutoff=0.75) or difflib.get_close_matches(
            name, names, n=1
        )
        close = [next(full for full in paths if _last(full) == match) for match in matches]
    hint = f"did you mean {' or '.join(close)}?" if close else f"known here: {', '.join(known)}"
    return f"no field {cut(path)}; {hint}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def field_paths(config: BaseModel, prefix: str = "") -> list[str]:
    """Dotted names of every field that holds a value, in order."""
    paths = []
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            paths += field_paths(value, f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths
