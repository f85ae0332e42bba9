"""What a bundled script has in place of pydantic, of the errors' own looks, and of what knows the machine.

`pgolf.bundle.stands_for` says what each is in place of. They do for the program's own calls what the real ones do.
"""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch


class PgolfError(Exception):
    """Shows its number and values as Python does."""

    exit_code = 2


class ValidationError(ValueError):
    """Fields of a file that the program does not know, or other values than it was made for."""


def complaint(error: ValidationError) -> str:
    """What is wrong with the fields."""
    return str(error)


class BaseModel:
    """Fields by name; those not given have the class's values."""

    model_fields: Any = ()

    def __init_subclass__(cls) -> None:
        cls.model_fields = (*cls.model_fields, *vars(cls).get("__annotations__", ()))

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseModel) and self.model_dump() == other.model_dump()

    def model_dump(self, *, mode: str = "", exclude: Any = (), exclude_defaults: bool = False) -> dict[str, Any]:
        """Every field by name, those of bases first."""
        return {
            name: value
            for name in self.model_fields
            if name not in exclude
            and ((value := getattr(self, name)) != getattr(type(self), name, self) or not exclude_defaults)
        }

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """As JSON, without blanks unless indented."""
        blanks = (",", ":") if indent is None else None
        return json.dumps(self.model_dump(), separators=blanks, indent=indent, default=lambda one: one.model_dump())

    def model_copy(self, *, update: Mapping[str, Any]) -> "BaseModel":
        """With other values of some fields."""
        return type(self)(**{**self.__dict__, **update})

    @classmethod
    def model_validate(cls, fields: Any, *, strict: bool = True) -> "BaseModel":
        """From fields by name, as JSON gives them. Raises ValidationError for others than the class has."""
        if not isinstance(fields, dict) or fields.keys() - {*cls.model_fields}:
            raise ValidationError(fields)
        return cls(**{name: tuple(one) if isinstance(one, list) else one for name, one in fields.items()})

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> "BaseModel":
        """From JSON. Raises ValidationError."""
        return cls.model_validate(json.loads(text))


def usable_gpus() -> Any:
    """The GPUs that torch sees."""
    seen = torch.cuda.device_count()
    return SimpleNamespace(gpus=range(seen), counted=seen)


def take_device(device_type: str, rank: int, _world_size: int) -> torch.device:
    """The device of a rank, made the current one."""
    if device_type == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


def over_budget(_checkpoint: Any, _quantizer: Any, _code_bytes: int, trials: Any) -> str:
    """The size of the smallest model that was packed."""
    return str(trials.smallest.total_bytes)
