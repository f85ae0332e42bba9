"""The packed model's file: named arrays and a JSON header, compressed, behind a checked prefix (docs/format.md).

    offset  bytes
         0      8   magic
         8      2   format version, little-endian like everything here
        10      2   the codec's number
        12      8   bytes of the body
        20      8   bytes the body decodes to
        28     32   sha256 of the 28 bytes above and the body
        60      …   the body

A StreamCodec compresses the content in parts, and the body begins with a table of them. A part ends with a matrix of
codes. Codes of one tensor say little about another's, so parts cost nothing in size, and where one tensor changes the
others' parts stay: trying all rungs of a ladder packs each tensor once per width. A ContentCodec writes all of it.

Reading executes nothing, allocates little more than twice `max_decoded_bytes`, and raises ArtifactError for any other
bytes.
"""

import hashlib
import struct
import threading
from collections.abc import Sequence

import numpy as np

from pgolf.errors import ArtifactError
from pgolf.pack.codec import CODECS, Codec, CodecName, ContentCodec, StreamCodec
from pgolf.pack.named_arrays import Check, Content, accept, from_bytes, read_header, to_bytes

MAGIC = b"\x89PGOLF\r\n"
FORMAT_VERSION = 3

# 16 MB of codes decode to about 27 MB; this leaves room for networks forty times larger, and stops a bomb.
MAX_DECODED_BYTES = 1 << 30

_PREFIX = struct.Struct("<8sHHQQ")
_DIGEST_BYTES = 32
PREFIX_BYTES = _PREFIX.size + _DIGEST_BYTES

# The table: the number of parts, then of each its bytes, packed and decoded.
_PARTS = struct.Struct("<I")
_PART = struct.Struct("<II")
# Each part of a file ends with the first matrix that takes it to this size: the whole of a full-size network as one
# took zstd 16 and 17 five to eight times as long.
_PART_BYTES = 1 << 18


def serialize(content: Content, *, max_decoded_bytes: int = MAX_DECODED_BYTES) -> bytes:
    """The bytes that are compressed: header and arrays. The same content gives the same bytes.

    Raises ArtifactError for more bytes than a reader would accept.
    """
    decoded = to_bytes(content, {})
    if len(decoded) > max_decoded_bytes:
        raise ArtifactError(
            f"{len(decoded):,} bytes before compression, a container holds at most {max_decoded_bytes:,}; "
            "a network of this size needs another format"
        )
    return decoded


def pack(decoded: bytes, level: int = 0, *, codec: CodecName = "zstd") -> bytes:
    """A whole container file from serialized content. Same library version, codec and level, same bytes.

    level: one of the codec's levels; a codec without any ignores it.
    """
    return joined(codec, decoded, [packed_part(codec, level, part) for part in parts(codec, decoded)])


def parts(codec: CodecName, decoded: bytes) -> list[bytes]:
    """Serialized content in the parts that `packed_part` packs, each by itself; one for a ContentCodec."""
    if isinstance(CODECS[codec], ContentCodec):
        return [decoded]
    _meta, listed, start = read_header(decoded)
    begin, end, found = 0, start, []
    for entry in listed:
        # The low bytes of every array, in order: codes have no others.
        end += entry.elements
        if entry.dtype == np.int8 and end - begin >= _PART_BYTES:
            found.append(decoded[begin:end])
            begin = end
    return [*found, decoded[begin:]]


def packed_part(codec: CodecName, level: int, part: bytes, *, stop: threading.Event | None = None) -> bytes:
    """The bytes of one part: a function of codec, level and part alone.

    stop: set by another thread, it ends the work early; the result is then empty.
    """
    described = CODECS[codec]
    if isinstance(described, ContentCodec):
        return described.load().encode(part, stop=stop)
    return described.compress(level, part, stop=stop)


def joined(codec: CodecName, decoded: bytes, packed: Sequence[bytes]) -> bytes:
    """The whole file, given the parts of `decoded` packed."""
    described = CODECS[codec]
    if isinstance(described, ContentCodec):
        (body,) = packed
        decoded_bytes = described.load().claimed_bytes(decoded, body)
    else:
        pairs = zip(packed, parts(codec, decoded), strict=True)
        table = b"".join(_PART.pack(len(one), len(part)) for one, part in pairs)
        body = b"".join([_PARTS.pack(len(packed)), table, *packed])
        decoded_bytes = len(decoded)
    prefix = _PREFIX.pack(MAGIC, FORMAT_VERSION, described.number, len(body), decoded_bytes)
    return prefix + hashlib.sha256(prefix + body).digest() + body


def unpack(
    file_bytes: bytes, *, where: str, max_decoded_bytes: int = MAX_DECODED_BYTES, check: Check = accept
) -> Content:
    """The content of a container file; `where` names it in errors.

    check: looks at the header before codes are decoded, which takes time; a ValueError of its own refuses the file.
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
        if isinstance(codec, ContentCodec):
            return codec.load().decode(body, decoded_bytes, check)
        return from_bytes(_decompressed(codec, body, decoded_bytes), check)
    except ValueError as error:
        raise ArtifactError(f"{where}: {error}; it was not written by pgolf, pack it again") from error


def _checked_body(file_bytes: bytes, where: str) -> tuple[Codec, bytes, int]:
    """Codec, body, and the bytes it claims to decode to, from a file whose prefix is in order."""
    if not file_bytes.startswith(MAGIC):
        shown = file_bytes[: len(MAGIC)].hex(" ") or "nothing"
        raise ArtifactError(f"{where}: begins with {shown}, a packed model with {MAGIC.hex(' ')}; this is another file")
    if len(file_bytes) < PREFIX_BYTES:
        raise ArtifactError(f"{where}: {len(file_bytes)} bytes, the prefix alone has {PREFIX_BYTES}; it is truncated")
    _magic, version, number, body_bytes, decoded_bytes = _PREFIX.unpack_from(file_bytes)
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
    codec = {known.number: known for known in CODECS.values()}.get(number)
    if codec is None:
        raise ArtifactError(f"{where}: codec {number}, this pgolf knows {len(CODECS)}; update pgolf or pack it again")
    return codec, body, decoded_bytes


def _decompressed(codec: StreamCodec, body: bytes, decoded_bytes: int) -> bytearray:
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
    decoded, done = bytearray(decoded_bytes), 0
    for part_bytes, part_decoded_bytes in sizes:
        part = codec.decompress(body[start : start + part_bytes], part_decoded_bytes)
        decoded[done : done + part_decoded_bytes] = part
        start += part_bytes
        done += part_decoded_bytes
    return decoded
