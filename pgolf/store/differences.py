"""The diff of two stage keys, as readable text, one entry per field."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pgolf.store.output_record import Record

SECTIONS = ("version", "config", "inputs", "values", "hardware", "tools", "code")
_MISSING = object()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One readable line per field in which two keys differ."""
    return _Compared(new, SECTIONS).texts(old)


def nearest(
    records: Iterable[Record],
    wanted: Mapping[str, Any],
    rank: Callable[[Record], Any],
    *,
    sections: Sequence[str] = SECTIONS,
) -> tuple[Record, list[str]] | None:
    """The record whose key differs from `wanted` in the fewest fields (ties: highest `rank`), and its differences.

    sections: the parts of the key to compare. None if there are no records.
    """
    compared = _Compared(wanted, sections)
    counted = [(len(compared.fields(record.key)), record) for record in records]
    fewest = min((count for count, _ in counted), default=None)
    if fewest is None:
        return None
    best = max((record for count, record in counted if count == fewest), key=rank)
    return best, compared.texts(best.key)


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One readable line per field in which two nested mappings differ, named by its path: "model.width 64 → 512".

    Fields that only one of them has are named where nothing that both have differs: they follow from what does.
    """
    before, after = _flat(old), _flat(new)
    both = sorted(before.keys() & after.keys())
    differ = [f"{name} {_short(before[name])} → {_short(after[name])}" for name in both if before[name] != after[name]]
    alone = [(name, "gone" if name in before else "new") for name in sorted(before.keys() ^ after.keys())]
    return differ or [f"{name} {what}" for name, what in alone]


class _Compared:
    """One key, flattened once, to compare with many: a large store compares thousands of records."""

    def __init__(self, key: Mapping[str, Any], sections: Sequence[str]) -> None:
        self.key, self.sections = key, sections
        self.flat = {section: _flat(key.get(section)) for section in sections}

    def fields(self, old: Mapping[str, Any]) -> list[tuple[str, str, Any, Any]]:
        """(section, name, before, after) of every differing field; None stands for a missing one."""
        changed = []
        for section in self.sections:
            if old.get(section) == self.key.get(section):  # the common case
                continue
            before, after = _flat(old.get(section)), self.flat[section]
            for name in before.keys() | after.keys():
                if before.get(name, _MISSING) != after.get(name, _MISSING):
                    changed.append((section, name, before.get(name), after.get(name)))
        return changed

    def texts(self, old: Mapping[str, Any]) -> list[str]:
        order = {section: place for place, section in enumerate(self.sections)}
        changed = sorted(self.fields(old), key=lambda field: (order[field[0]], field[1]))
        return [_describe(*field) for field in changed]


def _describe(section: str, name: str, before: Any, after: Any) -> str:
    what = "new" if before is None else "gone" if after is None else "changed"
    if section == "code":
        return f"code: {name.replace('.', '/')}.py {what}"
    if section == "inputs":
        return f"input {name} {what}"
    label = {"version": "stage version", "tools": f"tool {name}"}.get(section, name)
    return f"{label} {_short(before)} → {_short(after)}"


def _flat(value: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    _flatten(value, "", flat)
    return flat


def _flatten(value: Any, prefix: str, flat: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            # Module names contain dots of their own; only the config is nested.
            _flatten(item, f"{prefix}.{name}" if prefix else name, flat)
    else:
        flat[prefix] = value


def _short(value: Any) -> str:
    if isinstance(value, list):
        if len(value) > 8:
            return f"[{_short(value[0])}, {_short(value[1])}, … {_short(value[-1])}] ({len(value)} values)"
        return "[" + ", ".join(_short(item) for item in value) + "]"
    if isinstance(value, Mapping):
        # An entry of a list of products or mixtures: its first field is enough to identify it.
        named = [f"{name}: {_short(item)}" for name, item in list(value.items())[:1]]
        return "{" + ", ".join([*named, *(["…"] if len(value) > 1 else [])]) + "}"
    return "none" if value is None else str(value)
