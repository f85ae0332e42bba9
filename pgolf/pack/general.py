"""The general-purpose codecs zstd, xz and brotli: streams written by level, and read no further than they claim.

A library is imported when its codec is used.
"""

import lzma
from collections.abc import Callable
from typing import Any

# Compresses the next piece, and ends the stream.
Compressor = tuple[Callable[[Any], bytes], Callable[[], bytes]]

_PIECE_BYTES = 1 << 20
# xz -9 has a dictionary of 64 MiB, and the decoder takes little more; a file that asks for gigabytes is not ours.
_XZ_MEMORY_BYTES = 80 << 20
# 16 MiB, the most that brotli has without its large-window extension.
_BROTLI_WINDOW_BITS = 24


def zstd_compressor(level: int, size: int) -> Compressor:
    """One frame of `size` bytes."""
    import zstandard

    # One thread per frame: several would cut the input at places that depend on their number.
    zstd = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False, threads=0)
    frame = zstd.compressobj(size=size)
    return frame.compress, frame.flush


def decompress_zstd(stream: bytes, decoded_bytes: int) -> bytes:
    """The bytes of one frame; ValueError unless it claims and has as many as said."""
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


def xz_compressor(level: int, _size: int) -> Compressor:
    """One stream without a check of its own: the container has one."""
    xz = lzma.LZMACompressor(check=lzma.CHECK_NONE, preset=level | lzma.PRESET_EXTREME)
    return xz.compress, xz.flush


def decompress_xz(stream: bytes, decoded_bytes: int) -> bytes:
    """The bytes of one stream; ValueError unless it ends after as many as said."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
    try:
        # One byte more than claimed, so that a longer stream shows.
        decoded = decompressor.decompress(stream, max_length=decoded_bytes + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"its xz stream cannot be decoded ({error})") from error
    _require_end("xz", len(decoded), decoded_bytes, ended=decompressor.eof and not decompressor.unused_data)
    return decoded


def brotli_compressor(level: int, _size: int) -> Compressor:
    """One stream."""
    import brotli

    compressor = brotli.Compressor(quality=level, lgwin=_BROTLI_WINDOW_BITS)
    return lambda piece: compressor.process(bytes(piece)), compressor.finish


def decompress_brotli(stream: bytes, decoded_bytes: int) -> bytes:
    """The bytes of one stream; ValueError unless it ends after as many as said."""
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


def _require_end(codec: str, found_bytes: int, decoded_bytes: int, *, ended: bool) -> None:
    if found_bytes != decoded_bytes or not ended:
        raise ValueError(
            f"its {codec} stream has {'' if ended else 'not ended after '}{found_bytes:,} bytes, "
            f"the prefix claims {decoded_bytes:,}"
        )
