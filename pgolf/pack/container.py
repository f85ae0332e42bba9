"""The packed model's file format: named arrays and a JSON header in one zstd frame, behind a checked prefix.

    offset  bytes
         0      8   magic
         8      2   format version, little-endian like everything here
        10      2   0
        12      8   bytes of the zstd frame
        20      8   bytes it decodes to
        28     32   sha256 of the 28 bytes above and the frame
        60      …   the zstd frame

The frame decodes to 4 bytes of header length, the header (JSON), and the arrays' bytes in the header's order. Integer
codes lie there one per byte, whatever their bits: the entropy coder does the packing, better than bits side by side.
Reading executes nothing, allocates no more than `max_decoded_bytes` and raises ArtifactError for any other bytes.
"""

import hashlib
import json
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from pgolf.errors import ArtifactError

MAGIC = b"\x89PGOLF\r\n"
FORMAT_VERSION = 1

# 16 MB of codes decode to about 27 MB; this leaves room for networks forty times larger, and stops a bomb.
MAX_DECODED_BYTES = 1 << 30

Array = npt.NDArray[Any]

_PREFIX = struct.Struct("<8sHHQQ")
_DIGEST_BYTES = 32
_PIECE_BYTES = 1 << 20
PREFIX_BYTES = _PREFIX.size + _DIGEST_BYTES
_HEADER_LENGTH = struct.Struct("<I")
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Content:
    """What a container holds: `meta`, any JSON object, and arrays by name, in order."""

    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]


def serialize(content: Content, *, max_decoded_bytes: int = MAX_DECODED_BYTES) -> bytes:
    """The bytes that are compressed: header and arrays. The same content gives the same bytes.

    Raises ArtifactError for more bytes than a reader would accept.
    """
    listed = []
    parts = []
    for name, array in content.arrays.items():
        assert array.dtype.name in _DTYPES, f"{name}: {array.dtype} has no place in a container"
        listed.append([name, array.dtype.name, list(array.shape)])
        parts.append(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
    header = json.dumps({"meta": content.meta, "arrays": listed}, separators=(",", ":"), allow_nan=False).encode()
    decoded = b"".join([_HEADER_LENGTH.pack(len(header)), header, *parts])
    if len(decoded) > max_decoded_bytes:
        raise ArtifactError(
            f"{len(decoded):,} bytes before compression, a container holds at most {max_decoded_bytes:,}; "
            "a network of this size needs another format"
        )
    return decoded


def pack(decoded: bytes, zstd_level: int, *, stop: threading.Event | None = None) -> bytes:
    """A whole container file from serialized content. Same library version and level, same bytes.

    stop: set by another thread, it ends the work early; the result is then empty.
    """
    # One thread per frame: several would cut the input at places that depend on their number.
    compressor = zstandard.ZstdCompressor(level=zstd_level, write_content_size=True, write_checksum=False, threads=0)
    stream = compressor.compressobj(size=len(decoded))
    frame_parts = []
    for start in range(0, len(decoded), _PIECE_BYTES):
        if stop is not None and stop.is_set():
            return b""
        frame_parts.append(stream.compress(memoryview(decoded)[start : start + _PIECE_BYTES]))
    frame = b"".join([*frame_parts, stream.flush()])
    prefix = _PREFIX.pack(MAGIC, FORMAT_VERSION, 0, len(frame), len(decoded))
    return prefix + hashlib.sha256(prefix + frame).digest() + frame


def unpack(file_bytes: bytes, *, where: str, max_decoded_bytes: int = MAX_DECODED_BYTES) -> Content:
    """The content of a container file; `where` names it in errors.

    Raises ArtifactError for a file that is truncated, altered, of a newer version, or would decode to more than
    `max_decoded_bytes`.
    """
    frame, decoded_bytes = _checked_frame(file_bytes, where)
    if decoded_bytes > max_decoded_bytes:
        raise ArtifactError(
            f"{where}: would decode to {decoded_bytes:,} bytes, more than the {max_decoded_bytes:,} a reader accepts; "
            "this is not a packed model of ours"
        )
    try:
        # The frame's own claim decides what the decoder allocates, so it must be the one checked above.
        claimed_bytes = zstandard.get_frame_parameters(frame).content_size
        if claimed_bytes != decoded_bytes:
            raise ArtifactError(
                f"{where}: its zstd frame claims {claimed_bytes:,} bytes, the prefix {decoded_bytes:,}; pack it again"
            )
        decoded = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ArtifactError(f"{where}: its zstd frame cannot be decoded ({error}); pack it again") from error
    return _parsed(decoded, where)


def _checked_frame(file_bytes: bytes, where: str) -> tuple[bytes, int]:
    if not file_bytes.startswith(MAGIC):
        shown = file_bytes[: len(MAGIC)].hex(" ") or "nothing"
        raise ArtifactError(f"{where}: begins with {shown}, a packed model with {MAGIC.hex(' ')}; this is another file")
    if len(file_bytes) < PREFIX_BYTES:
        raise ArtifactError(f"{where}: {len(file_bytes)} bytes, the prefix alone has {PREFIX_BYTES}; it is truncated")
    _magic, version, reserved, frame_bytes, decoded_bytes = _PREFIX.unpack_from(file_bytes)
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{where}: format version {version}, this pgolf reads up to {FORMAT_VERSION}; update pgolf or pack it again"
        )
    if version < 1 or reserved != 0:
        raise ArtifactError(f"{where}: format version {version}.{reserved} never existed; the file is damaged")
    found_bytes = len(file_bytes) - PREFIX_BYTES
    if found_bytes != frame_bytes:
        raise ArtifactError(
            f"{where}: {found_bytes:,} bytes after the prefix, which counts {frame_bytes:,}; "
            "it is truncated or has something appended, pack it again"
        )
    frame = file_bytes[PREFIX_BYTES:]
    if hashlib.sha256(file_bytes[: _PREFIX.size] + frame).digest() != file_bytes[_PREFIX.size : PREFIX_BYTES]:
        raise ArtifactError(f"{where}: its sha256 does not match its content; the file was altered, pack it again")
    return frame, decoded_bytes


def _parsed(decoded: bytes, where: str) -> Content:
    try:
        (header_bytes,) = _HEADER_LENGTH.unpack_from(decoded)
        start = _HEADER_LENGTH.size + header_bytes
        header = json.loads(decoded[_HEADER_LENGTH.size : start])
        meta, listed = header["meta"], header["arrays"]
        if not isinstance(meta, dict) or not isinstance(listed, list):
            raise TypeError("meta is an object, arrays a list")
        arrays: dict[str, Array] = {}
        for name, dtype_name, shape in listed:
            if not isinstance(name, str) or name in arrays or dtype_name not in _DTYPES:
                raise ValueError(f"array {name!r} of {dtype_name!r}")
            if not all(type(extent) is int and extent >= 0 for extent in shape):
                raise ValueError(f"array {name!r} of shape {shape!r}")
            dtype = np.dtype(dtype_name).newbyteorder("<")
            elements = 1
            for extent in shape:
                elements *= extent
            end = start + elements * dtype.itemsize
            if end > len(decoded):
                raise ValueError(f"array {name!r} ends at byte {end}, the content at {len(decoded)}")
            array = np.frombuffer(decoded, dtype=dtype, count=elements, offset=start).reshape(shape)
            arrays[name] = array.astype(dtype.newbyteorder("="), copy=False)
            start = end
        if start != len(decoded):
            raise ValueError(f"{len(decoded) - start} bytes follow the last array")
    except (KeyError, TypeError, ValueError, struct.error, RecursionError) as error:
        raise ArtifactError(f"{where}: its header makes no sense ({error}); it was not written by pgolf") from error
    return Content(meta, arrays)
