"""The codec rans: matrices of integer codes are entropy-coded, all else is raw LZMA2 (docs/format.md).

Reading takes NumPy and the standard library alone, and allocates little more than the file claims to decode to.
"""

import lzma
import struct
import threading

from pgolf.pack.code_reader import decode_matrices
from pgolf.pack.code_writer import bits_of, encode_matrices
from pgolf.pack.named_arrays import (
    Check,
    Content,
    accept,
    from_bytes,
    may_have_bits,
    plain_arrays,
    read_header,
    to_bytes,
)

# Bytes of the LZMA2 part, packed and decoded.
_HEAD = struct.Struct("<II")
# Scales, control tensors and a header need no larger dictionary, and the reader allocates it.
_DICTIONARY_BYTES = 1 << 20


def encode(decoded: bytes, *, stop: threading.Event | None = None) -> bytes:
    """The body of serialized content; empty when stopped."""
    content = from_bytes(decoded)
    matrices = {name: array for name, array in content.arrays.items() if may_have_bits(array.dtype, array.shape)}
    rest = to_bytes(content, {name: bits_of(matrix) for name, matrix in matrices.items()})
    # The literal's neighbour helps with text, and is noise between the bytes of numbers: take what is shorter.
    packed_rest = min((lzma.compress(rest, lzma.FORMAT_RAW, filters=_lzma(bits)) for bits in (3, 0)), key=len)
    coded = encode_matrices(list(matrices.values()), stop=stop)
    return _HEAD.pack(len(packed_rest), len(rest)) + packed_rest + coded if coded else b""


def claimed_bytes(decoded: bytes, body: bytes) -> int:
    """What the body of this content decodes to: its LZMA2 part, and a byte for each code."""
    _packed_bytes, rest_bytes = _HEAD.unpack_from(body)
    _meta, listed, _start = read_header(decoded)
    return int(rest_bytes) + sum(entry.elements for entry in listed if may_have_bits(entry.dtype, entry.shape))


def decode(body: bytes, decoded_bytes: int, check: Check = accept) -> Content:
    """What `encode` was given. Raises ValueError for other bytes, before anything of a size not checked is made."""
    if len(body) < _HEAD.size:
        raise ValueError(f"its body has {len(body)} bytes, the head alone {_HEAD.size}")
    packed_bytes, rest_bytes = _HEAD.unpack_from(body)
    end = _HEAD.size + packed_bytes
    if end > len(body) or rest_bytes > decoded_bytes:
        raise ValueError(f"its plain part ends at byte {end:,} of {len(body):,} and has {rest_bytes:,} decoded")
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_lzma())
    try:
        rest = decompressor.decompress(body[_HEAD.size : end], max_length=rest_bytes + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"its plain part cannot be decoded ({error})") from error
    if len(rest) != rest_bytes or not decompressor.eof or decompressor.unused_data:
        raise ValueError(f"its plain part has {len(rest):,} bytes, or more, where {rest_bytes:,} are claimed")
    meta, listed, start = read_header(rest)
    check(meta, listed)
    plain = plain_arrays(rest, start, listed)
    coded = {entry.name: (entry.shape[0], entry.shape[1], entry.bits) for entry in listed if entry.bits is not None}
    listed_bytes = rest_bytes + sum(rows * columns for rows, columns, _bits in coded.values())
    if listed_bytes != decoded_bytes:
        raise ValueError(f"its header lists {listed_bytes:,} bytes, the prefix {decoded_bytes:,}")
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
