"""The file format: exact round trips, and every damage an ArtifactError."""

import hashlib
import json
import lzma
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path

import brotli
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.errors import ArtifactError
from pgolf.pack.codec import CODECS
from pgolf.pack.container import FORMAT_VERSION, MAGIC, PREFIX_BYTES, pack, packed_part, parts, serialize, unpack
from pgolf.pack.named_arrays import Content

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def content() -> Content:
    rng = np.random.default_rng(0)
    arrays = {
        "a.q": rng.integers(-32, 32, (30, 20)).astype(np.int8),
        "a.scale": rng.random(30).astype(np.float16),
        "scalar": np.array(1.5, dtype=np.float16),
        "none": np.zeros((0, 4), dtype=np.float32),
        "counts": np.array([1, -(2**40)], dtype=np.int64),
    }
    return Content({"text": "é", "number": 0.1, "list": [1, None, True]}, arrays)


def assert_same(one: Content, other: Content) -> None:
    assert one.meta == other.meta
    assert list(one.arrays) == list(other.arrays)
    for name, array in one.arrays.items():
        assert other.arrays[name].dtype == array.dtype
        assert other.arrays[name].shape == array.shape
        assert other.arrays[name].tobytes() == array.tobytes()


def packed(codec: str = "zstd") -> bytes:
    return pack(serialize(content()), low_level(codec), codec=codec)


def low_level(codec: str) -> int:
    """1, or 0 of a codec that has no other."""
    return min(1, CODECS[codec].levels[-1])


@pytest.mark.parametrize(
    ("codec", "level"),
    [*(("zstd", level) for level in (1, 2, 16, 22)), ("xz", 0), ("xz", 9), ("brotli", 0), ("brotli", 11), ("rans", 0)],
)
def test_what_is_packed_comes_back_bit_for_bit(codec, level):
    assert_same(content(), unpack(pack(serialize(content()), level, codec=codec), where="x"))


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=25, deadline=None)
@given(
    described=st.dictionaries(
        st.text(max_size=8),
        st.tuples(
            st.sampled_from(DTYPES),
            st.one_of(st.lists(st.integers(0, 4), max_size=3), st.lists(st.integers(14, 20), min_size=2, max_size=2)),
            st.integers(0, 2**32 - 1),
        ),
        max_size=5,
    )
)
def test_any_arrays_come_back_bit_for_bit(codec, described):
    arrays = {}
    for name, (dtype, shape, seed) in described.items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 256, size).astype(np.uint8)
        arrays[name] = np.frombuffer(raw.tobytes(), dtype=dtype).reshape(shape)
    file_bytes = pack(serialize(Content({}, arrays)), low_level(codec), codec=codec)
    assert_same(Content({}, arrays), unpack(file_bytes, where="x"))


def test_the_same_content_gives_the_same_bytes_in_another_process():
    code = (
        "import sys, hashlib; from tests.pack.test_container import CODECS, packed;"
        "assert 'torch' not in sys.modules;"
        "print(*(hashlib.sha256(packed(codec)).hexdigest() for codec in CODECS))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True).stdout
    assert shown.split() == [hashlib.sha256(packed(codec)).hexdigest() for codec in CODECS]


def test_reading_rans_needs_numpy_and_the_standard_library_alone(tmp_path):
    (tmp_path / "model.pgolf").write_bytes(packed("rans"))
    code = (
        "import sys; sys.modules.update(zstandard=None, brotli=None, torch=None, scipy=None, numba=None);"
        "from pathlib import Path; from pgolf.pack.container import unpack;"
        "print(len(unpack(Path(sys.argv[1]).read_bytes(), where='x').arrays))"
    )
    root = Path(__file__).parents[2]
    run = [sys.executable, "-c", code, str(tmp_path / "model.pgolf")]
    shown = subprocess.run(run, check=True, cwd=root, capture_output=True, text=True).stdout
    assert int(shown) == len(content().arrays)


def test_codes_of_six_bits_pack_to_about_their_entropy():
    codes = np.random.default_rng(0).integers(-32, 32, 400_000).astype(np.int8)
    packed = pack(serialize(Content({}, {"q": codes})), 16)
    # 6 bits of entropy in every byte; Huffman codes of 64 equally likely values are 6 bits long, tables come on top.
    assert 0.75 * len(codes) <= len(packed) <= 0.76 * len(codes)


@pytest.mark.parametrize("codec", CODECS)
def test_a_stopped_packing_ends_early_and_gives_nothing(codec):
    stop = threading.Event()
    stop.set()
    assert packed_part(codec, 1, serialize(content()), stop=stop) == b""


def anywhere(length: int) -> list[int]:
    """Every offset of the prefix and of what follows it closely, and 200 random ones elsewhere."""
    near = range(min(length, PREFIX_BYTES + 20))
    return [*near, *np.random.default_rng(0).integers(len(near), length, 200).tolist()]


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_cut_anywhere_is_an_error(codec):
    whole = packed(codec)
    for length in anywhere(len(whole)):
        with pytest.raises(ArtifactError):
            unpack(whole[:length], where="cut.pgolf")


@pytest.mark.parametrize("codec", CODECS)
def test_a_flipped_bit_anywhere_is_an_error(codec):
    whole = packed(codec)
    for offset in anywhere(len(whole)):
        for bit in range(8) if offset < PREFIX_BYTES else (offset % 8,):
            damaged = bytearray(whole)
            damaged[offset] ^= 1 << bit
            with pytest.raises(ArtifactError):
                unpack(bytes(damaged), where="flipped.pgolf")


def test_something_appended_is_an_error():
    with pytest.raises(ArtifactError, match="has something appended"):
        unpack(pack(serialize(content()), 1) + b"\0", where="x")


def forged(
    decoded: bytes,
    *,
    version: int = FORMAT_VERSION,
    claimed: int | None = None,
    body: bytes | None = None,
    codec: int = 0,
) -> bytes:
    """A container with a right checksum around whatever a forger likes."""
    body = one_part(COMPRESS[codec](decoded), len(decoded) if claimed is None else claimed) if body is None else body
    prefix = struct.pack("<8sHHQQ", MAGIC, version, codec, len(body), len(decoded) if claimed is None else claimed)
    return prefix + hashlib.sha256(prefix + body).digest() + body


def one_part(stream: bytes, decoded_bytes: int) -> bytes:
    return struct.pack("<III", 1, len(stream), decoded_bytes) + stream


COMPRESS = (zstandard.ZstdCompressor(level=1).compress, lzma.compress, lambda data: brotli.compress(data, quality=1))
LZMA2 = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]


def forged_rans(rest: bytes, coded: bytes = bytes(3) + b"\x80" + bytes(4), *, claimed: int | None = None) -> bytes:
    """One with codec rans; `coded` is the states and words, by default those of no codes."""
    packed_rest = lzma.compress(rest, lzma.FORMAT_RAW, filters=LZMA2)
    body = struct.pack("<II", len(packed_rest), len(rest)) + packed_rest + coded
    return forged(rest, body=body, codec=3, claimed=claimed)


@pytest.mark.parametrize("version", range(FORMAT_VERSION))
def test_a_version_that_never_left_the_house_is_an_error_that_says_so(version):
    with pytest.raises(ArtifactError, match=f"version {version} was never released"):
        unpack(forged(serialize(content()), version=version), where="x")


def test_a_newer_version_is_an_error_that_says_what_to_do():
    newer = FORMAT_VERSION + 1
    with pytest.raises(ArtifactError, match=f"format version {newer}, this pgolf reads up to {FORMAT_VERSION}; update"):
        unpack(forged(serialize(content()), version=newer), where="x")


def test_an_unknown_codec_is_an_error_that_says_so():
    with pytest.raises(ArtifactError, match="codec 4, this pgolf knows 4"):
        unpack(forged(b"", body=b"whatever", codec=4), where="x")


@pytest.mark.parametrize("codec", [0, 1, 2])
def test_the_forger_can_write_a_good_file_so_his_bad_ones_test_what_they_should(codec):
    assert_same(content(), unpack(forged(serialize(content()), codec=codec), where="x"))
    assert_same(Content({"a": 1}, {}), unpack(forged_rans(serialize(Content({"a": 1}, {}))), where="x"))
    assert len(forged(b"")) > PREFIX_BYTES


@pytest.mark.parametrize("codec", [0, 1, 2])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(codec):
    bomb = forged(bytes(50_000_000), codec=codec)
    assert len(bomb) < 10_000
    with pytest.raises(ArtifactError, match=r"would decode to 50,000,000 bytes, more than the 1,000,000"):
        unpack(bomb, where="x", max_decoded_bytes=1_000_000)


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        (0, r"claims 50,000,000 bytes, the prefix 1,000"),
        (1, r"has not ended after 1,001 bytes, the prefix claims 1,000"),
        (2, r"has not ended after [\d,]{5,6} bytes, the prefix claims 1,000"),
    ],
)
def test_a_bomb_that_lies_about_its_size_is_refused_without_decoding_it(codec, said):
    bomb = forged(bytes(50_000_000), claimed=1_000, codec=codec)
    tracemalloc.start()
    with pytest.raises(ArtifactError, match=said):
        unpack(bomb, where="x", max_decoded_bytes=1_000_000)
    _now, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The xz decoder has its dictionary, 8 MiB at the default level; nothing else grows with the stream.
    assert most_bytes < 10_000_000


def test_a_rans_bomb_that_lies_about_its_size_is_refused_without_decoding_it():
    packed_rest = lzma.compress(bytes(50_000_000), lzma.FORMAT_RAW, filters=LZMA2)
    for rest_bytes, said in ((1_000, "has 1,001 bytes, or more"), (2**32 - 1, "has 4,294,967,295 decoded")):
        body = struct.pack("<II", len(packed_rest), rest_bytes) + packed_rest
        with pytest.raises(ArtifactError, match=said):
            unpack(forged(b"", body=body, codec=3, claimed=1_000), where="x")


def test_codes_are_counted_before_they_are_decoded():
    for shape in ([1 << 20, 1 << 20], [16, (1 << 63) - 1]):
        rest = headed({"meta": {}, "arrays": [["q", "int8", shape, 6]]})
        with pytest.raises(ArtifactError, match=r"its header lists [0-9,]+ bytes, the prefix"):
            unpack(forged_rans(rest), where="x")
        with pytest.raises(ArtifactError, match="more than the 1,073,741,824 a reader accepts"):
            unpack(forged_rans(rest, claimed=min(2**64 - 1, len(rest) + shape[0] * shape[1])), where="x")


def test_an_xz_stream_that_asks_for_gigabytes_is_refused():
    stream = bytearray(lzma.compress(b"small", check=lzma.CHECK_NONE))
    # Its block header: size, flags, LZMA2, one byte of properties, the dictionary (40: 4 GiB - 1), padding, CRC32.
    assert stream[12:16] == bytes([2, 0, 0x21, 1])
    stream[16] = 40
    stream[20:24] = struct.pack("<I", zlib.crc32(stream[12:20]))
    with pytest.raises(ArtifactError, match="its xz stream cannot be decoded"):
        unpack(forged(b"small", body=one_part(bytes(stream), 5), codec=1), where="x")


def test_a_frame_that_claims_no_size_is_refused():
    frame = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(bytes(50_000_000))
    with pytest.raises(ArtifactError, match="its zstd frame claims"):
        unpack(forged(bytes(1_000), body=one_part(frame, 1_000)), where="x", max_decoded_bytes=1_000_000)


@pytest.mark.parametrize("codec", [0, 1, 2])
def test_two_streams_half_a_one_or_none_are_refused(codec):
    decoded = serialize(content())
    one = COMPRESS[codec](decoded)
    for stream in (one + one, one + b"\0", one[:-1], one[: len(one) // 2], b"", b"no stream at all"):
        with pytest.raises(ArtifactError, match=r"its (zstd|xz|brotli) (frame|stream)"):
            unpack(forged(decoded, body=one_part(stream, len(decoded)), codec=codec), where="x")


@pytest.mark.parametrize("codec", [0, 1, 2])
def test_parts_that_do_not_make_up_the_content_are_refused(codec):
    decoded = serialize(content())
    one, other = (COMPRESS[codec](part) for part in (decoded[:50], decoded[50:]))
    table = (2, len(one), 50, len(other), len(decoded) - 50)
    assert_same(
        content(), unpack(forged(decoded, body=struct.pack("<5I", *table) + one + other, codec=codec), where="x")
    )
    for place, value in ((0, 0), (0, 1), (0, 3), (0, 2**32 - 1), (1, len(one) - 1), (2, 51), (3, 2**32 - 1), (4, 0)):
        body = struct.pack("<5I", *(value if at == place else kept for at, kept in enumerate(table))) + one + other
        with pytest.raises(ArtifactError, match=r"its (\d[\d,]* parts end at|body has|header makes no sense)"):
            unpack(forged(decoded, body=body, codec=codec), where="x")
    # Sums that are right, parts that are not.
    for sizes in ((len(one) + 1, 50, len(other) - 1, table[4]), (len(one), 51, len(other), table[4] - 1)):
        body = struct.pack("<5I", 2, *sizes) + one + other
        with pytest.raises(ArtifactError, match=r"its (zstd|xz|brotli) (frame|stream)"):
            unpack(forged(decoded, body=body, codec=codec), where="x")
    for body in (b"", b"\0\0\0", bytes(4), struct.pack("<I", 1)):
        with pytest.raises(ArtifactError, match=r"its (0 parts end at|body has)"):
            unpack(forged(decoded, body=body, codec=codec), where="x")


def test_parts_end_with_the_matrices_that_fill_them_and_make_up_the_content():
    shapes = {"a": (512, 512), "b": (100, 100), "c": (400, 1000), "d": (3, 3), "e": (600, 600)}
    arrays = {name: np.zeros(shape, np.int8) for name, shape in shapes.items()} | {"z": np.zeros(9, np.float16)}
    decoded = serialize(Content({}, arrays))
    header_bytes = len(decoded) - sum(array.nbytes for array in arrays.values())
    found = parts("zstd", decoded)
    assert [len(part) for part in found] == [header_bytes + 512 * 512, 100 * 100 + 400_000, 9 + 360_000, 18]
    assert b"".join(found) == decoded == parts("rans", decoded)[0]


def test_another_tensor_changes_its_own_part_alone():
    """What a ladder of widths lives on: all other parts keep their bytes."""
    arrays = {name: np.zeros((600, 600), np.int8) for name in "abc"}
    before = parts("zstd", serialize(Content({}, arrays)))
    after = parts("zstd", serialize(Content({}, arrays | {"b": np.ones((600, 600), np.int8)})))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True, True]


def test_a_rans_body_whose_parts_do_not_meet_is_refused():
    rest = serialize(Content({}, {}))
    packed_rest = lzma.compress(rest, lzma.FORMAT_RAW, filters=LZMA2)
    state = (1 << 31).to_bytes(8, "little")
    for body in (
        b"",
        bytes(7),
        struct.pack("<II", len(packed_rest) + 9, len(rest)) + packed_rest + state,
        struct.pack("<II", len(packed_rest) - 1, len(rest)) + packed_rest + state,
        struct.pack("<II", len(packed_rest) + 8, len(rest)) + packed_rest + state,
        struct.pack("<II", len(packed_rest), len(rest) - 1) + packed_rest + state,
        struct.pack("<II", len(packed_rest), len(rest)) + packed_rest,
        struct.pack("<II", len(packed_rest), len(rest)) + packed_rest + state + bytes(4),
        struct.pack("<II", 4, len(rest)) + b"junk" + state,
    ):
        with pytest.raises(ArtifactError):
            unpack(forged(rest, body=body, codec=3), where="x")


@pytest.mark.parametrize(
    "entry",
    [
        ["q", "int8", [16, 16], 0],
        ["q", "int8", [16, 16], 9],
        ["q", "int8", [16, 16], 6.0],
        ["q", "int8", [16, 16], True],
        ["q", "uint8", [16, 16], 6],
        ["q", "float16", [16, 16], 6],
        ["q", "int8", [256], 6],
        ["q", "int8", [16, 16, 1], 6],
        ["q", "int8", [15, 16], 6],
        ["q", "int8", [16, -16], 6],
        ["q", "int8", [16, 16], 6, 6],
    ],
)
def test_codes_that_make_no_sense_are_an_error(entry):
    with pytest.raises(ArtifactError, match="its header makes no sense"):
        unpack(forged_rans(headed({"meta": {}, "arrays": [entry]})), where="x")


def test_codes_in_a_file_that_is_not_entropy_coded_are_an_error():
    with pytest.raises(ArtifactError, match="its header makes no sense"):
        unpack(forged(headed({"meta": {}, "arrays": [["q", "int8", [16, 16], 6]]})), where="x")


def test_writing_more_than_a_reader_accepts_is_refused():
    with pytest.raises(ArtifactError, match="a container holds at most 100"):
        serialize(content(), max_decoded_bytes=100)


def headed(header: object, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + payload


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b"", b""),
        (b"not json", b""),
        (b"[" * 100_000, b""),
        (b"\xff\xfe", b""),
        ([], b""),
        ({"meta": {}}, b""),
        ({"meta": [], "arrays": []}, b""),
        ({"meta": {}, "arrays": {}}, b""),
        ({"meta": {}, "arrays": [["a", "int8"]]}, b""),
        ({"meta": {}, "arrays": [[1, "int8", [1]]]}, b"\0"),
        ({"meta": {}, "arrays": [["a", "object", [1]]]}, b"\0" * 8),
        ({"meta": {}, "arrays": [["a", ["int8"], [1]]]}, b"\0"),
        ({"meta": {}, "arrays": [["a", "int8", [-1]]]}, b""),
        ({"meta": {}, "arrays": [["a", "int8", [1.0]]]}, b"\0"),
        ({"meta": {}, "arrays": [["a", "int8", 3]]}, b"\0\0\0"),
        ({"meta": {}, "arrays": [["a", "int8", [2]]]}, b"\0"),
        ({"meta": {}, "arrays": [["a", "int8", [2**62, 2**62]]]}, b"\0"),
        ({"meta": {}, "arrays": [["a", "int8", [0, 2**70]]]}, b""),
        ({"meta": {}, "arrays": [["a", "int8", [1]], ["a", "int8", [1]]]}, b"\0\0"),
        ({"meta": {}, "arrays": [["a", "int8", [1] * 100]]}, b"\0"),
        ({"meta": {}, "arrays": [["a", "int8", [1] * 65]]}, b"\0"),
        ({"meta": {}, "arrays": [["a", "int8"], 3]}, b"\0"),
        ({"meta": {}, "arrays": []}, b"left over"),
    ],
)
def test_a_header_that_makes_no_sense_is_an_error(header, payload):
    with pytest.raises(ArtifactError, match="its header makes no sense"):
        unpack(forged(headed(header, payload)), where="x")
    with pytest.raises(ArtifactError, match="its header makes no sense"):
        unpack(forged_rans(headed(header, payload)), where="x")


def test_a_header_longer_than_the_content_is_an_error():
    with pytest.raises(ArtifactError, match="its header makes no sense"):
        unpack(forged(struct.pack("<I", 2**32 - 1) + b"{}"), where="x")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_an_error_and_never_a_crash(noise):
    for file_bytes in (noise, MAGIC + noise, forged(noise), forged_rans(noise), forged(b"", body=noise, codec=3)):
        with pytest.raises(ArtifactError):
            unpack(file_bytes, where="x")
