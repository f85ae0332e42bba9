"""The general-purpose codecs of a container: zstd, xz and brotli, each read no further than it claims.

What a file does not use is not imported: reading entropy-coded codes takes NumPy and the standard library alone.
"""

import lzma
import threading
from collections.abc import Callable
from typing import Any, Literal

General = Literal["zstd", "xz", "brotli"]

LEVELS = {"zstd": range(1, 23), "xz": range(10), "brotli": range(12)}

_PIECE_BYTES = 1 << 20
# xz -9 has a dictionary of 64 MiB, and the decoder takes little more; a file that asks for gigabytes is not ours.
_XZ_MEMORY_BYTES = 80 << 20
# 16 MiB, the most that brotli has without its large-window extension.
_BROTLI_WINDOW_BITS = 24


def compress(codec: General, level: int, data: bytes, *, stop: threading.Event | None = None) -> bytes:
    """The compressed stream. Same library version and level, same bytes.

    stop: set by another thread, it ends the work early; the result is then empty.
    """
    assert level in LEVELS[codec], f"{codec} has no level {level}"
    compress_piece, flush = _compressor(codec, level, len(data))
    parts = []
    for start in range(0, len(data), _PIECE_BYTES):
        if stop is not None and stop.is_set():
            return b""
        parts.append(compress_piece(memoryview(data)[start : start + _PIECE_BYTES]))
    return b"".join([*parts, flush()])


def decompress(codec: General, stream: bytes, decoded_bytes: int) -> bytes:
    """The bytes of a stream that decodes to exactly `decoded_bytes`, never allocating more than a little above it.

    Raises ValueError for any other stream.
    """
    if codec == "zstd":
        return _decompress_zstd(stream, decoded_bytes)
    return _decompress_xz(stream, decoded_bytes) if codec == "xz" else _decompress_brotli(stream, decoded_bytes)


def _compressor(codec: General, level: int, size: int) -> tuple[Callable[[Any], bytes], Callable[[], bytes]]:
    if codec == "zstd":
        import zstandard

        # One thread per frame: several would cut the input at places that depend on their number.
        zstd = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False, threads=0)
        frame = zstd.compressobj(size=size)
        return frame.compress, frame.flush
    if codec == "xz":
        # No check of its own: the container has one.
        xz = lzma.LZMACompressor(check=lzma.CHECK_NONE, preset=level | lzma.PRESET_EXTREME)
        return xz.compress, xz.flush
    import brotli

    brotlied = brotli.Compressor(quality=level, lgwin=_BROTLI_WINDOW_BITS)
    return lambda piece: brotlied.process(bytes(piece)), brotlied.finish


def _decompress_zstd(stream: bytes, decoded_bytes: int) -> bytes:
    import zstandard

    try:
        # The frame's own claim decides what the decoder allocates, so it must be the one that was checked.
        claimed_bytes = zstandard.get_frame_parameters(stream).content_size
        if claimed_bytes != decoded_bytes:
            raise ValueError(f"its zstd frame claims {claimed_bytes:,} bytes, the prefix {decoded_bytes:,}")
        decoded: bytes = zstandard.ZstdDecompressor().decompress(stream, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"its zstd frame cannot be decoded ({error})") from error
    return decoded


def _decompress_xz(stream: bytes, decoded_bytes: int) -> bytes:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
    try:
        # One byte more than claimed, so that a longer stream shows.
        decoded = decompressor.decompress(stream, max_length=decoded_bytes + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"its xz stream cannot be decoded ({error})") from error
    _require_end("xz", len(decoded), decoded_bytes, ended=decompressor.eof and not decompressor.unused_data)
    return decoded


def _decompress_brotli(stream: bytes, decoded_bytes: int) -> bytes:
    import brotli

    decompressor = brotli.Decompressor()
    parts = []
    left, piece = decoded_bytes + 1, stream
    try:
        while left > 0 and not decompressor.is_finished():
            # The limit may be passed by one block; nothing more comes when the stream is cut.
            parts.append(decompressor.process(piece, output_buffer_limit=min(left, _PIECE_BYTES)))
            left -= len(parts[-1])
            if not parts[-1] and not piece:
                break
            piece = b""
    except brotli.error as error:
        raise ValueError(f"its brotli stream cannot be decoded ({error})") from error
    _require_end("brotli", decoded_bytes + 1 - left, decoded_bytes, ended=decompressor.is_finished())
    return b"".join(parts)


def _require_end(codec: General, found_bytes: int, decoded_bytes: int, *, ended: bool) -> None:
    if found_bytes != decoded_bytes or not ended:
        raise ValueError(
            f"its {codec} stream has {'' if ended else 'not ended after '}{found_bytes:,} bytes, "
            f"the prefix claims {decoded_bytes:,}"
        )
