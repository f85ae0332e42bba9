"""State names as torch's wrappers of a network save them, without the wrappers' own parts.

torch.compile puts `_orig_mod.` before what it compiled, DataParallel and DistributedDataParallel put `module.`, and
FSDP and activation checkpointing have theirs; they nest in any order and may wrap blocks alone.
"""

from collections.abc import Mapping
from typing import TypeVar

from pgolf.errors import DataError

# No module of the network has one of these names.
_WRAPPERS = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})

Value = TypeVar("Value")


def without_wrappers(state: Mapping[str, Value]) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The state under the wrapped network's own names, and the parts that were left out, e.g. ("_orig_mod.",).

    Raises DataError where two names become one: the file then holds two states.
    """
    bare: dict[str, Value] = {}
    given: dict[str, str] = {}
    dropped: dict[str, None] = {}
    for name, value in state.items():
        parts = name.split(".")
        kept = ".".join(part for part in parts if part not in _WRAPPERS)
        if kept in given:
            raise DataError(
                f"{given[kept]} and {name} are both {kept} of the network, so these are two states in one; "
                "save the one that is meant alone"
            )
        dropped.update(dict.fromkeys(f"{part}." for part in parts if part in _WRAPPERS))
        bare[kept], given[kept] = value, name
    return bare, tuple(dropped)
