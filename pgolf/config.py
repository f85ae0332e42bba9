"""Base class of every stage's config: frozen, typed, no unknown fields."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema

# What every reader of a number, in files and in other languages, holds.
_MOST_BITS = 63


def _make_strict(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") in ("int", "float", "bool", "str"):
            schema["strict"] = True
        for name, part in schema.items():
            if name not in ("metadata", "serialization", "default"):
                _make_strict(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _make_strict(part)


class StageConfig(BaseModel):
    """Exactly the settings that determine the bytes of a stage's output.

    Where and how a stage runs (device, processes, log cadence, folders) goes into `RunOptions`, which is never part of
    a cache key. Sequences are tuples, so that a config is hashable and has one canonical form.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The fields' types, with numbers, flags and texts of their own kind wherever they stand: in lists, too.

        By itself pydantic reads true as the number 1, "20" as 20 and 20.0 as a whole number.
        """
        schema = handler(source)
        _make_strict(schema)
        return schema

    def idle(self) -> Mapping[str, Sequence[str]]:
        """The settings of this config that nothing reads, each with those whose values make it so."""
        return {}

    def idle_settings(self) -> dict[str, tuple[str, ...]]:
        """As `idle`, of all sections too, by dotted names."""
        found = {name: tuple(others) for name, others in self.idle().items()}
        for name in type(self).model_fields:
            if isinstance(section := getattr(self, name), StageConfig):
                within = section.idle_settings().items()
                found |= {f"{name}.{path}": tuple(f"{name}.{other}" for other in others) for path, others in within}
        return found

    def as_read(self, rest: Self | None = None) -> Self:
        """The same with the default at every setting that nothing reads: what is known by its key, and what runs.

        rest: has what to put there instead, as far as it has such a section. A recipe keeps the values that were set,
        since another setting may yet make something read them.
        """
        config = self
        for path in self.idle_settings():
            config = config._at_rest(path, rest)
        return config

    def _at_rest(self, path: str, rest: Any) -> Self:
        name, _, within = path.partition(".")
        other = getattr(rest, name) if type(rest) is type(self) else type(self).model_fields[name].default
        value = getattr(self, name)._at_rest(within, other) if within else other
        return self if value == getattr(self, name) else self.model_copy(update={name: value})

    @model_validator(mode="after")
    def _numbers_have_64_bits(self) -> Self:
        for name in type(self).model_fields:
            _refuse_larger(getattr(self, name), name)
        return self


def complaint(error: ValidationError) -> str:
    """The first thing that is wrong with what was read as a config, and how much there is in all."""
    first, count = error.errors(include_url=False)[0], error.error_count()
    where = "".join(f"{part}: " for part in [".".join(map(str, first["loc"]))] if part)
    return f"{where}{first['msg'].removeprefix('Value error, ')}" + (f" ({count} such fields)" if count > 1 else "")


def _refuse_larger(value: Any, name: str) -> None:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError(f"{name} has {value.bit_length():,} bits, a number has at most {_MOST_BITS}")
    if isinstance(value, tuple):
        for one in value:
            _refuse_larger(one, name)
