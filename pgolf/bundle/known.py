"""What a recipe's settings fix: of each class of configs the fields and properties that have one value in all.

Only switches are taken: what is on or off (0 is off), there or not, or one of several words. Numbers stay settings, so
that a sweep over them changes no byte of the code: no model is packed again for it, and no program made anew.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

Value = None | bool | int | float | str | tuple[Any, ...]


# How many windows a batch has, None for as many as fit: a number of the evaluation, whether it is given or not.
NO_SWITCHES = frozenset({"batch_windows"})


@dataclass(frozen=True, slots=True)
class There:
    """An object that is not None and true, of one of these classes. cls: the one, if it is the same in all settings.

    Numbers have no classes here.
    """

    classes: frozenset[str]

    @property
    def cls(self) -> str | None:
        """Its class, where that is certain."""
        return next(iter(self.classes)) if len(self.classes) == 1 else None


Known = Mapping[str, Mapping[str, Value | There]]


def known(settings: BaseModel, changing: Set[str]) -> Known:
    """Class -> field -> its value. Classes are known by name, those they derive from included.

    changing: fields that the program changes in copies, which are not known.
    """
    instances: dict[str, list[BaseModel]] = {}
    for one in configs(settings):
        for cls in type(one).__mro__:
            if issubclass(cls, BaseModel) and cls is not BaseModel:
                instances.setdefault(cls.__name__, []).append(one)
    found: dict[str, dict[str, Value | There]] = {}
    for name, several in instances.items():
        own = found[name] = {}
        fields = set.intersection(*(set(type(one).model_fields) for one in several))
        for field in sorted(fields - changing - NO_SWITCHES):
            value = _common([getattr(one, field) for one in several])
            if value is not _UNKNOWN:
                own[field] = value
    return found


def switches(settings: Any) -> Any:
    """What of the settings decides the program, as plain data: of numbers only whether they are 0."""
    if isinstance(settings, BaseModel):
        fields = {
            name: switches(getattr(settings, name)) for name in type(settings).model_fields if name not in NO_SWITCHES
        }
        return {"": type(settings).__name__} | fields
    if isinstance(settings, tuple):
        return (
            [switches(one) for one in settings]
            if any(isinstance(one, BaseModel | str) for one in settings)
            else bool(settings)
        )
    is_number = isinstance(settings, int | float) and not isinstance(settings, bool)
    return [bool(settings)] if is_number else settings


_UNKNOWN: Any = object()


def configs(value: Any) -> Iterator[BaseModel]:
    """The configs in a value: itself, and all that it holds."""
    if isinstance(value, BaseModel):
        yield value
        for field in type(value).model_fields:
            yield from configs(getattr(value, field))
    elif isinstance(value, tuple):
        for one in value:
            yield from configs(one)


def _is_set(value: Any) -> bool:
    """Whether a value is a number that is not 0: which one, the settings say."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value != 0


def _common(values: list[Any]) -> Any:
    """The switch that all have, `There` for numbers other than 0; `_UNKNOWN` if they differ."""
    if all(isinstance(one, BaseModel) for one in values):
        return There(frozenset(type(one).__name__ for one in values))
    if all(_is_set(one) for one in values):
        return There(frozenset())
    first = values[0]
    if any(type(one) is not type(first) or one != first for one in values):
        return _UNKNOWN
    is_switch = first is None or isinstance(first, bool | str) or first in ((), 0)
    return first if is_switch else _UNKNOWN
