"""What each tensor takes of a packed model's file.

Tensors share compressed streams, so a stream's bytes are dealt out to what lies in it, in proportion to its entropy:
what a coder needs at least that knows how often each byte comes, and nothing else. The shares of a file add up to it.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgolf.errors import ArtifactError
from pgolf.pack.codec import CODECS, ContentCodec
from pgolf.pack.container import PREFIX_BYTES, parts, serialize, unpack
from pgolf.pack.named_arrays import Content, read_header
from pgolf.store.plain_file import read_plain

HEADER = "(header)"
_PREFIX = struct.Struct("<8sHHQQ")
_PARTS, _PART = struct.Struct("<I"), struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class TensorBytes:
    """One tensor of a file. stored: its dtype, or for codes the bits that the largest of them needs (the file does not
    say on which grid they lie). plain_bytes: before compression; packed_bytes: its share.
    """

    tensor: str
    group: str
    stored: str
    elements: int
    plain_bytes: int
    packed_bytes: int


def tensor_bytes(path: Path) -> tuple[str, list[TensorBytes]]:
    """The codec of a packed model, and its tensors in the order of the file, the header last.

    Raises ArtifactError for a file that cannot be read or decoded.
    """
    try:
        file_bytes = read_plain(path)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); run compress again") from error
    content = unpack(file_bytes, where=str(path))
    number = _PREFIX.unpack_from(file_bytes)[2]
    codec = next(name for name, known in CODECS.items() if known.number == number)
    names = _array_tensors(content)
    share: dict[str, float] = dict.fromkeys([*content.meta["tensors"], HEADER], 0.0)
    for packed_bytes, weights in _streams(file_bytes, content):
        total = sum(weights.values())
        for array, weight in weights.items():
            share[names.get(array, HEADER)] += packed_bytes * weight / total
    rounded = _whole(share, len(file_bytes))
    found = [_described(name, content, rounded[name]) for name in content.meta["tensors"]]
    header = len(serialize(content)) - sum(array.nbytes for array in content.arrays.values())
    return codec, [*found, TensorBytes(HEADER, "header", "JSON", 0, header, rounded[HEADER])]


def _streams(file_bytes: bytes, content: Content) -> Iterator[tuple[int, dict[str, float]]]:
    """Bytes of each stream, and what its arrays (and the header) need at least; prefix and tables are the header's."""
    codec = next(known for known in CODECS.values() if known.number == _PREFIX.unpack_from(file_bytes)[2])
    decoded = serialize(content)
    _meta, _listed, start = read_header(decoded)
    if isinstance(codec, ContentCodec):
        yield len(file_bytes), _needs(decoded, _places(content, start), 0, len(decoded))
        return
    name = next(name for name, known in CODECS.items() if known is codec)
    (count,) = _PARTS.unpack_from(file_bytes, PREFIX_BYTES)
    table = [_PART.unpack_from(file_bytes, PREFIX_BYTES + _PARTS.size + _PART.size * k) for k in range(count)]
    yield PREFIX_BYTES + _PARTS.size + _PART.size * count, {HEADER: 1.0}
    places, begin = _places(content, start), 0
    for (packed_bytes, _decoded_bytes), part in zip(table, parts(name, decoded), strict=True):
        yield packed_bytes, _needs(decoded, places, begin, begin + len(part))
        begin += len(part)


def _places(content: Content, start: int) -> list[tuple[str, int, int]]:
    """Array, first and last + 1 byte of each plane in the serialized content, in order; before them the header."""
    found, begin = [(HEADER, 0, start)], start
    for place in range(8):
        for name, array in content.arrays.items():
            if place < array.dtype.itemsize:
                found.append((name, begin, begin + array.size))
                begin += array.size
    return found


def _needs(decoded: bytes, places: Sequence[tuple[str, int, int]], begin: int, end: int) -> dict[str, float]:
    """Array -> bytes that the part of it in decoded[begin:end] needs at least; never 0."""
    needs: dict[str, float] = {}
    for name, first, last in places:
        first, last = max(first, begin), min(last, end)
        if first < last:
            needs[name] = needs.get(name, 0.0) + _entropy_bytes(np.frombuffer(decoded, np.uint8, last - first, first))
    return needs


def _entropy_bytes(values: npt.NDArray[np.uint8]) -> float:
    """Size times entropy of the frequencies, in bytes, and one more: what is all alike takes something too."""
    counts = np.bincount(values, minlength=256)
    share = counts[counts > 0] / values.size
    return float(-(share * np.log2(share)).sum() * values.size / 8) + 1.0


def _whole(share: Mapping[str, float], total: int) -> dict[str, int]:
    """The shares as whole bytes that add up to the total: the largest remainders are rounded up."""
    floors = {name: int(value) for name, value in share.items()}
    by_remainder = sorted(share, key=lambda name: (floors[name] - share[name], name))
    for name in by_remainder[: total - sum(floors.values())]:
        floors[name] += 1
    return floors


def _array_tensors(content: Content) -> dict[str, str]:
    """Array -> the tensor that it is of."""
    tensors = content.meta.get("tensors")
    if not isinstance(tensors, dict):
        raise ArtifactError("its meta lists no tensors; it was not written by pgolf, pack it again")
    return {array: tensor for tensor in tensors for array in (tensor, f"{tensor}.q", f"{tensor}.scale")}


def _described(name: str, content: Content, packed_bytes: int) -> TensorBytes:
    arrays: Mapping[str, npt.NDArray[Any]] = content.arrays
    if name in arrays:
        array = arrays[name]
        return TensorBytes(name, tensor_group(name), array.dtype.name, array.size, array.nbytes, packed_bytes)
    codes, scale = arrays[f"{name}.q"], arrays[f"{name}.scale"]
    largest = max(int(codes.max(initial=0)), -int(codes.min(initial=0)) - 1)
    stored = f"codes of {largest.bit_length() + 1} bits"
    return TensorBytes(name, tensor_group(name), stored, codes.size, codes.nbytes + scale.nbytes, packed_bytes)


def tensor_group(name: str) -> str:
    """The part of the network that a tensor belongs to: its name without numbers and without its last word."""
    words = [word for word in name.split(".") if not word.isdecimal()]
    return re.sub(r"_?\d+$", "", ".".join(words[:-1] or words))
