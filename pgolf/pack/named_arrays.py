"""Serializes named arrays and a JSON object, and reads them back: a packed model's content before compression.

A header, then the arrays' bytes place by place: the lowest byte of every element first (docs/format.md). An array with
`bits` is listed in the header only; the codec that listed it keeps its codes elsewhere.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_HEADER_LENGTH = struct.Struct("<I")
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
# Narrower matrices have too few codes on a diagonal to be worth the steps, and none of ours is one.
_LEAST_EXTENT = 16


@dataclass(frozen=True, slots=True)
class Content:
    """What a container holds: `meta`, any JSON object, and arrays by name, in order."""

    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Listed:
    """An array as the header lists it; bits: of its codes where they are entropy-coded."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    bits: int | None

    @property
    def elements(self) -> int:
        """How many it has."""
        return math.prod(self.shape)


# Looks at what a header says before the arrays are made. Raises ValueError to refuse it.
Check = Callable[[Mapping[str, Any], Sequence[Listed]], None]


def to_bytes(content: Content, bits: Mapping[str, int]) -> bytes:
    """Header and arrays; those with `bits` are listed only. The same content gives the same bytes."""
    listed: list[list[object]] = []
    # Bytes of one place resemble each other more than the bytes of one float do.
    planes: list[list[bytes]] = [[] for _place in range(8)]
    for name, array in content.arrays.items():
        assert array.dtype.name in _DTYPES, f"{name}: {array.dtype} has no place in a container"
        listed.append([name, array.dtype.name, list(array.shape)])
        if name in bits:
            listed[-1].append(bits[name])
            continue
        raw = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        raw_EB = raw.reshape(-1, array.dtype.itemsize)
        for place in range(array.dtype.itemsize):
            planes[place].append(raw_EB[:, place].tobytes())
    header = json.dumps({"meta": content.meta, "arrays": listed}, separators=(",", ":"), allow_nan=False).encode()
    return b"".join([_HEADER_LENGTH.pack(len(header)), header, *(part for parts in planes for part in parts)])


def accept(_meta: Mapping[str, Any], _listed: Sequence[Listed]) -> None:
    """The check that refuses nothing."""


def from_bytes(decoded: bytes | bytearray, check: Check = accept) -> Content:
    """What `to_bytes` has written without `bits`. Raises ValueError for other bytes, and what `check` raises."""
    meta, listed, start = read_header(decoded)
    check(meta, listed)
    if any(entry.bits is not None for entry in listed):
        raise ValueError("its header makes no sense (codes listed as entropy-coded, in a file that has none)")
    return Content(meta, plain_arrays(decoded, start, listed))


def read_header(decoded: bytes | bytearray) -> tuple[Mapping[str, Any], list[Listed], int]:
    """Meta, the arrays listed, and where the header ends. Raises ValueError for anything else."""
    try:
        (header_bytes,) = _HEADER_LENGTH.unpack_from(decoded)
        start = _HEADER_LENGTH.size + header_bytes
        if start > len(decoded):
            raise ValueError(f"it ends at byte {start}, the content at {len(decoded)}")
        header = json.loads(decoded[_HEADER_LENGTH.size : start])
        meta, entries = header["meta"], header["arrays"]
        if not isinstance(meta, dict) or not isinstance(entries, list):
            raise TypeError("meta is an object, arrays a list")
        listed = [_listed(*entry) for entry in entries]
        if len({entry.name for entry in listed}) < len(listed):
            raise ValueError("two arrays of one name")
    except (KeyError, TypeError, ValueError, struct.error, RecursionError) as error:
        raise ValueError(f"its header makes no sense ({error})") from error
    return meta, listed, start


def plain_arrays(decoded: bytes | bytearray, start: int, listed: list[Listed]) -> dict[str, Array]:
    """The arrays that lie in the serialized bytes from `start`. Raises ValueError unless they fill them exactly."""
    plain = [entry for entry in listed if entry.bits is None]
    end = start + sum(entry.elements * entry.dtype.itemsize for entry in plain)
    if end != len(decoded):
        raise ValueError(f"its header makes no sense (the arrays end at byte {end}, the content at {len(decoded)})")
    raw_by_name = {entry.name: np.empty((entry.elements, entry.dtype.itemsize), np.uint8) for entry in plain}
    for place in range(8):
        for entry in plain:
            if place < entry.dtype.itemsize:
                raw_by_name[entry.name][:, place] = np.frombuffer(decoded, np.uint8, entry.elements, start)
                start += entry.elements
    try:
        return {
            entry.name: raw_by_name[entry.name]
            .reshape(-1)
            .view(entry.dtype)
            .reshape(entry.shape)
            .astype(entry.dtype.newbyteorder("="), copy=False)
            for entry in plain
        }
    except ValueError as error:
        raise ValueError(f"its header makes no sense ({error})") from error


def may_have_bits(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether an array's elements may be entropy-coded: int8 matrices that are not too narrow."""
    return dtype == np.int8 and len(shape) == 2 and min(shape) >= _LEAST_EXTENT


def _listed(name: object, dtype_name: object, shape: object, bits: object = None) -> Listed:
    if not isinstance(name, str) or dtype_name not in _DTYPES:
        raise ValueError(f"array {name!r} of {dtype_name!r}")
    # 64 is NumPy's own limit.
    if not isinstance(shape, list) or not all(type(extent) is int and 0 <= extent < 1 << 63 for extent in shape):
        raise ValueError(f"array {name!r} of shape {shape!r}")
    if len(shape) > 64:
        raise ValueError(f"array {name!r} of {len(shape)} dimensions")
    dtype = np.dtype(str(dtype_name)).newbyteorder("<")
    if bits is not None and (type(bits) is not int or not 1 <= bits <= 8 or not may_have_bits(dtype, tuple(shape))):
        raise ValueError(f"array {name!r} of {dtype_name} and shape {shape!r} in codes of {bits!r} bits")
    return Listed(name, dtype, tuple(shape), bits)
