"""What a recipe's settings fix: of each class of configs the fields, and properties, that have one value in all of them.

Of the evaluation's configs only switches are taken: what is on or off, there or not there, or one of several words.
Its numbers stay settings, so that a sweep over them changes no byte of the code, and no model is packed again for it.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

Value = None | bool | int | float | str | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class There:
    """An object that is not None, of one of these classes. cls: the one, if it is the same in all settings."""

    classes: frozenset[str]

    @property
    def cls(self) -> str | None:
        """Its class, where that is certain."""
        return next(iter(self.classes)) if len(self.classes) == 1 else None


Known = Mapping[str, Mapping[str, Value | There]]


def known(settings: BaseModel, evaluation: Set[str], changing: Set[str]) -> Known:
    """Class -> field or property -> its value. Classes are known by name, those they derive from included.

    evaluation: the settings' fields that hold configs of the evaluation. changing: fields that the program changes in
    copies; neither they nor properties of classes that have such a field are known.
    """
    instances: dict[str, list[tuple[BaseModel, bool]]] = {}
    for one, evaluates in _all(settings, evaluation):
        for cls in type(one).__mro__:
            if issubclass(cls, BaseModel) and cls is not BaseModel:
                instances.setdefault(cls.__name__, []).append((one, evaluates))
    found: dict[str, dict[str, Value | There]] = {}
    for name, several in instances.items():
        own = found[name] = {}
        fields = set.intersection(*(set(type(one).model_fields) for one, _evaluates in several))
        evaluates = any(one for _config, one in several)
        for field in sorted(fields - changing):
            value = _common([getattr(one, field) for one, _evaluates in several], evaluates)
            if value is not _UNKNOWN:
                own[field] = value
        if not evaluates and not fields & changing:
            for field in _properties(several[0][0]):
                value = _common([getattr(one, field, _UNKNOWN) for one, _evaluates in several], evaluates)
                if value is not _UNKNOWN and not isinstance(value, There | tuple):
                    own[field] = value
    return found


_UNKNOWN: Any = object()


def _all(settings: BaseModel, evaluation: Set[str]) -> Iterator[tuple[BaseModel, bool]]:
    yield settings, False
    for field in type(settings).model_fields:
        for one in configs(getattr(settings, field)):
            yield one, field in evaluation


def configs(value: Any) -> Iterator[BaseModel]:
    """The configs in a value: itself, and all that it holds."""
    if isinstance(value, BaseModel):
        yield value
        for field in type(value).model_fields:
            yield from configs(getattr(value, field))
    elif isinstance(value, tuple):
        for one in value:
            yield from configs(one)


def _properties(config: BaseModel) -> Iterable[str]:
    classes = [cls for cls in type(config).__mro__ if cls not in BaseModel.__mro__]
    return [name for cls in classes for name, own in vars(cls).items() if isinstance(own, property)]


def _common(values: list[Any], evaluates: bool) -> Any:
    """The value that all have, as far as it may be known; `_UNKNOWN` if they differ."""
    if all(isinstance(one, BaseModel) for one in values):
        return There(frozenset(type(one).__name__ for one in values))
    first = values[0]
    if any(type(one) is not type(first) or one != first for one in values):
        return _UNKNOWN
    if first is None or isinstance(first, bool | str) or first == ():
        return first
    is_plain = isinstance(first, int | float) or (
        isinstance(first, tuple) and all(isinstance(one, int | float | str) for one in first)
    )
    return first if is_plain and not evaluates else _UNKNOWN
