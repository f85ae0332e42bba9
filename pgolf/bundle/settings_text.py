"""The settings as the text of an expression, which a script evaluates when it starts: all that its program reads."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic import BaseModel

Fields = Mapping[str, AbstractSet[str]]


def settings_text(value: Any, fields: Fields, names: Mapping[str, str]) -> str:
    """A config, or what one holds. fields: class -> those to write. names: class or field -> how it is spelled.

    Numbers and words that a class has by default are left out.
    """
    if isinstance(value, tuple):
        return f"({''.join(f'{settings_text(one, fields, names)},' for one in value)})"
    if not isinstance(value, BaseModel):
        return repr(value)
    given = [
        f"{names.get(name, name)}={settings_text(getattr(value, name), fields, names)}"
        for name in _written(value, fields)
    ]
    cls = type(value).__name__
    return f"{names.get(cls, cls)}({','.join(given)})"


def classes_written(value: Any, fields: Fields) -> Iterator[str]:
    """The classes that `settings_text` names."""
    if isinstance(value, tuple):
        for one in value:
            yield from classes_written(one, fields)
    elif isinstance(value, BaseModel):
        yield type(value).__name__
        for name in _written(value, fields):
            yield from classes_written(getattr(value, name), fields)


def _written(config: BaseModel, fields: Fields) -> list[str]:
    wanted = {name for cls in type(config).__mro__ for name in fields.get(cls.__name__, ())}
    return [
        name
        for name, field in type(config).model_fields.items()
        if name in wanted
        and (field.is_required() or _holds_configs(getattr(config, name)) or getattr(config, name) != field.default)
    ]


def _holds_configs(value: Any) -> bool:
    """Whether a value says by its being there which classes the program has."""
    return isinstance(value, BaseModel) or (
        isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value)
    )
