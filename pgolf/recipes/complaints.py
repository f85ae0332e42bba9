"""What is wrong with a configuration, line by line, in the words and the spelling of those who write recipes."""

import difflib
import json
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

# Names of fields and numbers of list members, from the outside in.
_Place = Sequence[str | int]
_MOST_PROBLEMS = 5
_MOST_NAMES = 8


def complaints(error: ValidationError, model: type[BaseModel], where: str = "") -> list[str]:
    """One line per wrong field of what was read as `model`, of many the first ones. where: what stands before them."""
    problems = _causes(error.errors(include_url=False))
    lines = []
    for problem in problems[:_MOST_PROBLEMS]:
        place, field, sections = _place_of(problem["loc"], model)
        path = ".".join([where] * bool(where) + [cut(str(part)) for part in place])
        # A check of several fields has all of them as its input, and says in its message which it is about.
        is_whole = problem["type"] == "missing" or (problem["type"] == "value_error" and _has_fields(problem["input"]))
        got = "" if is_whole else f" (got {shown(problem['input'])})"
        said = _said(problem, place, field, sections)
        # A check of several fields begins with the one it is about: that is typed with its section.
        about_field = is_whole and any(said.partition(" ")[0] in section.model_fields for section in sections)
        lines.append(f"{path}{'.' if about_field else ': '}{said}{got}" if path else f"{said}{got}")
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"and {len(problems) - _MOST_PROBLEMS:,} more")
    return lines


def shown(value: Any) -> str:
    """A value in 60 characters at most."""
    try:
        return cut(repr(value))
    except (RecursionError, ValueError):  # nested too deep, or a number of thousands of digits
        return f"a {type(value).__name__} too large to be shown"


def cut(text: str) -> str:
    """A text in 60 characters at most."""
    return text if len(text) <= 60 else text[:57] + "..."


def sections_in(annotation: Any, *, of_lists: bool = False) -> list[type[BaseModel]]:
    """The sections that a field may hold, in their order. of_lists: those that are members of its list, too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in _parts(annotation, of_lists) for found in sections_in(part, of_lists=of_lists)]


def _parts(annotation: Any, of_lists: bool) -> Sequence[Any]:
    is_list = getattr(annotation, "__origin__", None) in (tuple, list, dict)
    return () if is_list and not of_lists else get_args(annotation)


def _said(problem: Any, place: _Place, field: FieldInfo | None, sections: Sequence[type[BaseModel]]) -> str:
    match problem["type"]:
        case "model_type" | "model_attributes_type" | "union_tag_not_found" if field is not None:
            return _of_section(place, field, sections[0], left_out=problem["input"] is None)
        case "union_tag_invalid":
            return f"there is no kind {problem['ctx']['tag']!r:.60}; the kinds are {problem['ctx']['expected_tags']}"
        case "extra_forbidden":
            known = [name for section in sections for name in section.model_fields]
            near = difflib.get_close_matches(str(place[-1]), known, n=1)
            return f"there is no such setting; {f'did you mean {near[0]}?' if near else _known(known)}"
        case "tuple_type" | "list_type":
            needs_one = field is not None and any(hasattr(limit, "min_length") for limit in field.metadata)
            empty = "" if needs_one or problem["input"] is not None else "; an empty one is []"
            kind, member = ("list of sections", _member(sections[0])) if sections else ("list", "1, 2")
            return f"this is a {kind}, e.g. [{member}]{empty}"
        case "too_short":
            has, needs = (problem["ctx"][name] for name in ("actual_length", "min_length"))
            return f"this list has {has} values, and needs at least {needs}"
    said: str = problem["msg"]
    return said.removeprefix("Value error, ")


def _of_section(place: _Place, field: FieldInfo, section: type[BaseModel], *, left_out: bool) -> str:
    """What the section at this place is for, and how one of its settings is written."""
    what = field.description or ""
    what = f" ({what[0].lower()}{what[1:]})" if what else ""
    if isinstance(place[-1], int):  # a member of a list has no name
        return f"a member of this list{what} is a section, e.g. {_member(section)}"
    name, value = _example(section)
    needed = ", which a recipe always has" if left_out and type(None) not in get_args(field.annotation) else ""
    one = f"{'.'.join(map(str, place))}.{name}={value}"
    return f"this is a section{what}{needed}; set what is in it, e.g. {one}"


def _member(section: type[BaseModel]) -> str:
    """A section as a member of a list, as it is typed: {"share_rate": 0.0}."""
    name, value = _example(section)
    return f'{{"{name}": {value}}}'


def _example(section: type[BaseModel]) -> tuple[str, str]:
    """A setting of a section with its default, as both are typed: a single value where there is one."""
    defaults = {name: field.default for name, field in section.model_fields.items() if name != "kind"}
    for kinds in (str | int | float, tuple, object):
        for name, default in defaults.items():
            if isinstance(default, kinds):
                return name, "…" if kinds is object else json.dumps(to_jsonable_python(default))
    raise AssertionError(f"{section.__name__} has no settings")


def _known(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"known here: {', '.join(names[:_MOST_NAMES])}{more}" if names else "it holds none"


def _place_of(loc: _Place, model: type[BaseModel]) -> tuple[_Place, FieldInfo | None, Sequence[type[BaseModel]]]:
    """Where in the data something is wrong, the last field on the way there, and what sections that may hold.

    Of a section of several kinds pydantic names the kind besides, which nobody types.
    """
    place: list[str | int] = []
    field, sections = None, [model]
    for part in loc:
        if found := [one.model_fields[part] for one in sections if isinstance(part, str) and part in one.model_fields]:
            field = found[0]
            sections = sections_in(field.annotation, of_lists=True)
        elif part in _kinds(sections):
            continue
        place.append(part)
    return place, field, sections


def _kinds(sections: Sequence[type[BaseModel]]) -> set[str]:
    """What the sections may say that they are."""
    fields = [section.model_fields["kind"] for section in sections if "kind" in section.model_fields]
    return {word for field in fields for word in get_args(field.annotation)}


def _causes(problems: Sequence[Any]) -> list[Any]:
    """The problems without those that follow from others: of members that do not fit pydantic also counts none."""
    wrong = {problem["loc"][:length] for problem in problems for length in range(len(problem["loc"]))}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in wrong]


def _has_fields(value: Any) -> bool:
    return isinstance(value, dict | BaseModel)
