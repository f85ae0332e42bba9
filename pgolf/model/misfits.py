"""Readable mismatches between a state dict and a network."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

_SHOWN = 5


def misfits(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], kind: Callable[[Tensor], str]) -> list[str]:
    """One complaint per tensor that is missing, unknown, or not of the expected kind; `kind` describes a tensor."""
    complaints = []
    for name, tensor in expected.items():
        if name not in found:
            complaints.append(f"{name} is missing, the network has {kind(tensor)}")
        elif kind(found[name]) != kind(tensor):
            complaints.append(f"{name} is {kind(found[name])}, the network has {kind(tensor)}")
    unknown = [
        f"{name} is {kind(tensor)}, the network has none" for name, tensor in found.items() if name not in expected
    ]
    return complaints + unknown


def in_one_line(complaints: Sequence[str]) -> str:
    """The number of misfits and the first few complaints."""
    more = f"; and {len(complaints) - _SHOWN} more" if len(complaints) > _SHOWN else ""
    tensors = "1 tensor does" if len(complaints) == 1 else f"{len(complaints)} tensors do"
    return f"{tensors} not fit the network: {'; '.join(complaints[:_SHOWN])}{more}"
