"""The packed model's file: named arrays and a JSON header, compressed, behind a checked prefix (docs/format.md).

    offset  bytes
         0      8   magic
         8      2   format version, little-endian like everything here
        10      2   codec: 0 zstd, 1 xz, 2 brotli, 3 rans
        12      8   bytes of the body
        20      8   bytes the content takes decoded: header and arrays
        28     32   sha256 of the 28 bytes above and the body
        60      …   the body

With the first three codecs the body is the serialized content in parts, each compressed by itself. With rans the
matrices of integer codes are left out of the content, which is raw LZMA2 then, and follow it, entropy-coded by
`pgolf.pack.code_model`. Reading executes nothing, allocates little more than `max_decoded_bytes`, and raises
ArtifactError for any other bytes.

A part ends with a matrix of codes. Codes of one tensor say little about another's, so parts cost nothing in size, and
where one tensor changes the others' parts stay: trying all rungs of a ladder packs each tensor once per width.
"""

import hashlib
import json
import lzma
import math
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from pgolf.errors import ArtifactError
from pgolf.pack.code_reader import decode_matrices
from pgolf.pack.code_writer import bits_of, encode_matrices
from pgolf.pack.general import General, compress, decompress

Codec = Literal["zstd", "xz", "brotli", "rans"]

MAGIC = b"\x89PGOLF\r\n"
FORMAT_VERSION = 3

# 16 MB of codes decode to about 27 MB; this leaves room for networks forty times larger, and stops a bomb.
MAX_DECODED_BYTES = 1 << 30

Array = npt.NDArray[Any]

_CODECS: tuple[Codec, ...] = get_args(Codec)
_PREFIX = struct.Struct("<8sHHQQ")
_DIGEST_BYTES = 32
PREFIX_BYTES = _PREFIX.size + _DIGEST_BYTES
_HEADER_LENGTH = struct.Struct("<I")
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")

# The body begins with the number of its parts, then of each its bytes, packed and decoded. With rans it begins with
# one such pair, of its LZMA2 part.
_PARTS = struct.Struct("<I")
_PART = struct.Struct("<II")
# Each part of a file ends with the first matrix that takes it to this size: the whole of a full-size network as one
# took zstd 16 and 17 five to eight times as long.
_PART_BYTES = 1 << 18
# Narrower matrices have too few codes on a diagonal to be worth the steps, and none of ours is one.
_LEAST_EXTENT = 16
# Scales, control tensors and a header need no larger dictionary, and the reader allocates it.
_DICTIONARY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """What a container holds: `meta`, any JSON object, and arrays by name, in order."""

    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class _Listed:
    """An array as the header lists it; bits: of its codes where they are entropy-coded."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    bits: int | None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def serialize(content: Content, *, max_decoded_bytes: int = MAX_DECODED_BYTES) -> bytes:
    """The bytes that are compressed: header and arrays. The same content gives the same bytes.

    Raises ArtifactError for more bytes than a reader would accept.
    """
    decoded = _serialized(content, {})
    if len(decoded) > max_decoded_bytes:
        raise ArtifactError(
            f"{len(decoded):,} bytes before compression, a container holds at most {max_decoded_bytes:,}; "
            "a network of this size needs another format"
        )
    return decoded


def pack(decoded: bytes, level: int = 0, *, codec: Codec = "zstd") -> bytes:
    """A whole container file from serialized content. Same library version, codec and level, same bytes.

    level: zstd 1 to 22, xz 0 to 9, brotli 0 to 11; rans has none.
    """
    return joined(codec, decoded, [packed_part(codec, level, part) for part in parts(codec, decoded)])


def parts(codec: Codec, decoded: bytes) -> list[bytes]:
    """Serialized content in the parts that `packed_part` packs, each by itself; with rans it is one."""
    if codec == "rans":
        return [decoded]
    _meta, listed, start = _header(decoded)
    begin, end, found = 0, start, []
    for entry in listed:
        # The low bytes of every array, in order: codes have no others.
        end += entry.elements
        if entry.dtype == np.int8 and end - begin >= _PART_BYTES:
            found.append(decoded[begin:end])
            begin = end
    return [*found, decoded[begin:]]


def packed_part(codec: Codec, level: int, part: bytes, *, stop: threading.Event | None = None) -> bytes:
    """The bytes of one part: a function of codec, level and part alone.

    stop: set by another thread, it ends the work early; the result is then empty.
    """
    return _rans_body(_content(part), stop) if codec == "rans" else compress(codec, level, part, stop=stop)


def joined(codec: Codec, decoded: bytes, packed: Sequence[bytes]) -> bytes:
    """The whole file, given the parts of `decoded` packed."""
    if codec == "rans":
        (body,) = packed
        _packed_bytes, plain_bytes = _PART.unpack_from(body)
        decoded_bytes = plain_bytes + sum(
            entry.elements for entry in _header(decoded)[1] if _is_coded(entry.dtype, entry.shape)
        )
    else:
        pairs = zip(packed, parts(codec, decoded), strict=True)
        table = b"".join(_PART.pack(len(one), len(part)) for one, part in pairs)
        body = b"".join([_PARTS.pack(len(packed)), table, *packed])
        decoded_bytes = len(decoded)
    prefix = _PREFIX.pack(MAGIC, FORMAT_VERSION, _CODECS.index(codec), len(body), decoded_bytes)
    return prefix + hashlib.sha256(prefix + body).digest() + body


def unpack(file_bytes: bytes, *, where: str, max_decoded_bytes: int = MAX_DECODED_BYTES) -> Content:
    """The content of a container file; `where` names it in errors.

    Raises ArtifactError for a file that is truncated, altered, of another version, or would decode to more than
    `max_decoded_bytes`.
    """
    codec, body, decoded_bytes = _checked_body(file_bytes, where)
    if decoded_bytes > max_decoded_bytes:
        raise ArtifactError(
            f"{where}: would decode to {decoded_bytes:,} bytes, more than the {max_decoded_bytes:,} a reader accepts; "
            "this is not a packed model of ours"
        )
    try:
        if codec == "rans":
            return _rans_content(body, decoded_bytes)
        return _content(_decompressed(codec, body, decoded_bytes))
    except ValueError as error:
        raise ArtifactError(f"{where}: {error}; it was not written by pgolf, pack it again") from error


def _checked_body(file_bytes: bytes, where: str) -> tuple[Codec, bytes, int]:
    """Codec, body, and the bytes it claims to decode to, from a file whose prefix is in order."""
    if not file_bytes.startswith(MAGIC):
        shown = file_bytes[: len(MAGIC)].hex(" ") or "nothing"
        raise ArtifactError(f"{where}: begins with {shown}, a packed model with {MAGIC.hex(' ')}; this is another file")
    if len(file_bytes) < PREFIX_BYTES:
        raise ArtifactError(f"{where}: {len(file_bytes)} bytes, the prefix alone has {PREFIX_BYTES}; it is truncated")
    _magic, version, codec, body_bytes, decoded_bytes = _PREFIX.unpack_from(file_bytes)
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{where}: format version {version}, this pgolf reads up to {FORMAT_VERSION}; update pgolf or pack it again"
        )
    if version < FORMAT_VERSION:
        raise ArtifactError(f"{where}: format version {version} was never released; pack the model again")
    found_bytes = len(file_bytes) - PREFIX_BYTES
    if found_bytes != body_bytes:
        raise ArtifactError(
            f"{where}: {found_bytes:,} bytes after the prefix, which counts {body_bytes:,}; "
            "it is truncated or has something appended, pack it again"
        )
    body = file_bytes[PREFIX_BYTES:]
    if hashlib.sha256(file_bytes[: _PREFIX.size] + body).digest() != file_bytes[_PREFIX.size : PREFIX_BYTES]:
        raise ArtifactError(f"{where}: its sha256 does not match its content; the file was altered, pack it again")
    if codec >= len(_CODECS):
        raise ArtifactError(f"{where}: codec {codec}, this pgolf knows {len(_CODECS)}; update pgolf or pack it again")
    return _CODECS[codec], body, decoded_bytes


def _decompressed(codec: General, body: bytes, decoded_bytes: int) -> bytes:
    """The content from a body in parts; ValueError for other bytes, before anything larger than claimed is made."""
    count = _PARTS.unpack_from(body)[0] if len(body) >= _PARTS.size else 0
    start = _PARTS.size + count * _PART.size
    if start > len(body):
        raise ValueError(f"its body has {len(body):,} bytes, the table of its {count:,} parts alone {start:,}")
    sizes = list(_PART.iter_unpack(body[_PARTS.size : start]))
    packed_bytes, claimed_bytes = (sum(column) for column in zip(*sizes)) if sizes else (0, 0)
    if start + packed_bytes != len(body) or claimed_bytes != decoded_bytes:
        raise ValueError(
            f"its {count:,} parts end at byte {start + packed_bytes:,} of {len(body):,} and have {claimed_bytes:,} "
            f"decoded, the prefix claims {decoded_bytes:,}"
        )
    decoded = []
    for part_bytes, part_decoded_bytes in sizes:
        decoded.append(decompress(codec, body[start : start + part_bytes], part_decoded_bytes))
        start += part_bytes
    return b"".join(decoded)


def _serialized(content: Content, bits: Mapping[str, int]) -> bytes:
    """Header and arrays; those with `bits` are listed only.

    The arrays' bytes come place by place: the lowest byte of every element first. Bytes of one place resemble each
    other more than the bytes of one float do.
    """
    listed: list[list[object]] = []
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


def _content(decoded: bytes) -> Content:
    """What `_serialized` has written without `bits`; ValueError for other bytes."""
    meta, listed, start = _header(decoded)
    if any(entry.bits is not None for entry in listed):
        raise ValueError("its header makes no sense (codes listed as entropy-coded, in a file that has none)")
    return Content(meta, _plain_arrays(decoded, start, listed))


def _header(decoded: bytes) -> tuple[Mapping[str, Any], list[_Listed], int]:
    """Meta, arrays listed, and where the header ends; ValueError where it is not one."""
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


def _listed(name: object, dtype_name: object, shape: object, bits: object = None) -> _Listed:
    if not isinstance(name, str) or dtype_name not in _DTYPES:
        raise ValueError(f"array {name!r} of {dtype_name!r}")
    # 64 is NumPy's own limit.
    if not isinstance(shape, list) or not all(type(extent) is int and 0 <= extent < 1 << 63 for extent in shape):
        raise ValueError(f"array {name!r} of shape {shape!r}")
    if len(shape) > 64:
        raise ValueError(f"array {name!r} of {len(shape)} dimensions")
    if bits is not None and (
        type(bits) is not int
        or not 1 <= bits <= 8
        or dtype_name != "int8"
        or len(shape) != 2
        or min(shape) < _LEAST_EXTENT
    ):
        raise ValueError(f"array {name!r} of {dtype_name} and shape {shape!r} in codes of {bits!r} bits")
    return _Listed(name, np.dtype(dtype_name).newbyteorder("<"), tuple(shape), bits)


def _plain_arrays(decoded: bytes, start: int, listed: list[_Listed]) -> dict[str, Array]:
    """The arrays that lie in the serialized bytes from `start`; ValueError unless they fill them exactly."""
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


def _is_coded(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether rans codes an array's elements one by one."""
    return dtype == np.int8 and len(shape) == 2 and min(shape) >= _LEAST_EXTENT


def _rans_body(content: Content, stop: threading.Event | None) -> bytes:
    """The body; empty when stopped."""
    matrices = {name: array for name, array in content.arrays.items() if _is_coded(array.dtype, array.shape)}
    rest = _serialized(content, {name: bits_of(matrix) for name, matrix in matrices.items()})
    # The literal's neighbour helps with text, and is noise between the bytes of numbers: take what is shorter.
    packed_rest = min((lzma.compress(rest, lzma.FORMAT_RAW, filters=_lzma(bits)) for bits in (3, 0)), key=len)
    coded = encode_matrices(list(matrices.values()), stop=stop)
    return _PART.pack(len(packed_rest), len(rest)) + packed_rest + coded if coded else b""


def _rans_content(body: bytes, decoded_bytes: int) -> Content:
    """What `_rans_body` has written; ValueError for other bytes, before anything of a size not checked is made."""
    if len(body) < _PART.size:
        raise ValueError(f"its body has {len(body)} bytes, the head alone {_PART.size}")
    packed_bytes, rest_bytes = _PART.unpack_from(body)
    end = _PART.size + packed_bytes
    if end > len(body) or rest_bytes > decoded_bytes:
        raise ValueError(f"its plain part ends at byte {end:,} of {len(body):,} and has {rest_bytes:,} decoded")
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_lzma())
    try:
        rest = decompressor.decompress(body[_PART.size : end], max_length=rest_bytes + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"its plain part cannot be decoded ({error})") from error
    if len(rest) != rest_bytes or not decompressor.eof or decompressor.unused_data:
        raise ValueError(f"its plain part has {len(rest):,} bytes, or more, where {rest_bytes:,} are claimed")
    meta, listed, start = _header(rest)
    plain = _plain_arrays(rest, start, listed)
    coded = {entry.name: (entry.shape[0], entry.shape[1], entry.bits) for entry in listed if entry.bits is not None}
    claimed_bytes = rest_bytes + sum(rows * columns for rows, columns, _bits in coded.values())
    if claimed_bytes != decoded_bytes:
        raise ValueError(f"its header lists {claimed_bytes:,} bytes, the prefix {decoded_bytes:,}")
    matrices = dict(zip(coded, decode_matrices(body[end:], list(coded.values()))))
    return Content(meta, {entry.name: matrices[entry.name] if entry.bits else plain[entry.name] for entry in listed})


def _lzma(literal_context: int = 3) -> list[dict[str, int]]:
    """The filter chain of the plain part. An LZMA2 stream names its own literal bits, a reader needs none."""
    return [
        {
            "id": lzma.FILTER_LZMA2,
            "preset": 9 | lzma.PRESET_EXTREME,
            "dict_size": _DICTIONARY_BYTES,
            "lc": literal_context,
            "pb": 0,
        }
    ]
