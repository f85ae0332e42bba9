"""The codecs of a packed model, each described once: the config names one, the container applies it.

A new codec is a name, an entry in CODECS, and its functions. Importing this loads no codec's library and no NumPy:
a reader loads what its file uses, and `pgolf plan` none of it.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pgolf.pack import general
from pgolf.pack.general import Compressor

if TYPE_CHECKING:
    from pgolf.pack.named_arrays import Check, Content

CodecName = Literal["zstd", "xz", "brotli", "rans"]

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCodec:
    """Compresses bytes, whatever they are; a file's content goes through it part by part.

    number: stands for it in files (docs/format.md), and is never given to another. levels: all it has, the strongest
    last. library: the distribution whose version decides its bytes, None for Python's own.
    compressor: of a level, for so many bytes. decompress: the bytes of a stream that decodes to exactly so many, never
    allocating more than a little above that; ValueError for any other stream.
    """

    number: int
    levels: range
    library: str | None = None
    compressor: Callable[[int, int], Compressor]
    decompress: Callable[[bytes, int], bytes]

    def compress(self, level: int, data: bytes, *, stop: threading.Event | None = None) -> bytes:
        """The compressed stream. Same library version and level, same bytes.

        stop: set by another thread, it ends the work early; the result is then empty.
        """
        assert level in self.levels, f"codec {self.number} has no level {level}"
        compress_piece, flush = self.compressor(level, len(data))
        pieces = []
        for start in range(0, len(data), _PIECE_BYTES):
            if stop is not None and stop.is_set():
                return b""
            pieces.append(compress_piece(memoryview(data)[start : start + _PIECE_BYTES]))
        return b"".join([*pieces, flush()])


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentCoder:
    """What a ContentCodec does.

    encode(decoded, stop=None): the body of serialized content. Same content, same bytes; empty when stopped.
    claimed_bytes(decoded, body): what the body of this content is said to decode to.
    decode(body, decoded_bytes, check): the content of a body that decodes to exactly so many bytes, checked before
    anything of that size is made. Raises ValueError for any other body, and what `check` raises.
    """

    encode: Callable[..., bytes]
    claimed_bytes: Callable[[bytes, bytes], int]
    decode: Callable[[bytes, int, "Check"], "Content"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentCodec:
    """Knows the arrays in a file's content, and takes it whole. number, levels, library: as of a StreamCodec."""

    number: int
    levels: range
    library: str | None = None
    load: Callable[[], ContentCoder]


Codec = StreamCodec | ContentCodec


def _rans() -> ContentCoder:
    from pgolf.pack.rans import claimed_bytes, decode, encode

    return ContentCoder(encode=encode, claimed_bytes=claimed_bytes, decode=decode)


CODECS: Mapping[CodecName, Codec] = {
    "zstd": StreamCodec(
        number=0,
        levels=range(1, 23),
        library="zstandard",
        compressor=general.zstd_compressor,
        decompress=general.decompress_zstd,
    ),
    "xz": StreamCodec(
        number=1,
        levels=range(10),
        compressor=general.xz_compressor,
        decompress=general.decompress_xz,
    ),
    "brotli": StreamCodec(
        number=2,
        levels=range(12),
        library="brotli",
        compressor=general.brotli_compressor,
        decompress=general.decompress_brotli,
    ),
    "rans": ContentCodec(
        number=3,
        levels=range(1),
        load=_rans,
    ),
}
