"""In what two stage keys differ, each field as a person would say it."""

from collections.abc import Mapping
from typing import Any


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The fields in which two keys differ, each as a person would say it."""
    texts = []
    for section in ("version", "config", "inputs", "values", "hardware", "tools", "code"):
        if old.get(section) == new.get(section):  # most are, and a store of many runs compares thousands
            continue
        before, after = _flat(old.get(section)), _flat(new.get(section))
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name) or (name in before) != (name in after):
                texts.append(_say(section, name, before.get(name), after.get(name)))
    return texts


def _say(section: str, name: str, before: Any, after: Any) -> str:
    if section == "code":
        what = "new" if before is None else "gone" if after is None else "changed"
        return f"code: {name.replace('.', '/')}.py {what}"
    if section == "inputs":
        return f"input {name} changed"
    label = {"version": "stage version", "tools": f"tool {name}"}.get(section, name)
    return f"{label} {_short(before)} → {_short(after)}"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        flat = {}
        for name, item in value.items():
            # Module names hold dots of their own; only the config nests.
            flat.update(_flat(item, f"{prefix}.{name}" if prefix else str(name)))
        return flat
    return {prefix: value}


def _short(value: Any) -> str:
    if isinstance(value, list):
        if len(value) > 8:
            return f"[{_short(value[0])}, {_short(value[1])}, … {_short(value[-1])}] ({len(value)} values)"
        return "[" + ", ".join(_short(item) for item in value) + "]"
    if isinstance(value, Mapping):
        # An entry of a list of products or mixtures: what it begins with tells it from the others.
        named = [f"{name}: {_short(item)}" for name, item in list(value.items())[:1]]
        return "{" + ", ".join([*named, *(["…"] if len(value) > 1 else [])]) + "}"
    return "none" if value is None else str(value)
