"""Canonical JSON of configs and other key material, and its digest.

A value without a single stable form is refused, because guessing one would sooner or later serve a wrong output.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from pgolf.errors import ConfigError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def canonical(value: Any, where: str = "value") -> Json:
    """`value` as plain JSON data: models and mappings become objects, tuples become lists; other types are refused.

    where: the value's name in messages. Raises ConfigError, naming the field, for NaN, infinities, paths, sets, bytes
    and any other type.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}, which has no stable form; use a finite number or None")
        return value
    if isinstance(value, BaseModel):
        return {name: canonical(getattr(value, name), f"{where}.{name}") for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where} has the key {key!r} of type {type(key).__name__}; use strings")
        return {key: canonical(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, PurePath):
        raise ConfigError(f"{where} is the path {value}: a file is identified by its content; pass it as an input")
    raise ConfigError(f"{where} is of type {type(value).__name__}, which has no stable form; use plain JSON types")


def canonical_json(value: Any) -> str:
    """`canonical(value)` as one line of JSON: sorted keys, no spaces, ASCII, shortest round-trip floats."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of `canonical_json(value)`, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()
