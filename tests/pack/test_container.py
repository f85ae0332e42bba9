"""The file format: exact round trips, and every damage an ArtifactError."""

import hashlib
import json
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.errors import ArtifactError
from pgolf.pack.container import FORMAT_VERSION, MAGIC, PREFIX_BYTES, Content, pack, serialize, unpack

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


@pytest.mark.parametrize("level", [1, 2, 16, 22])
def test_what_is_packed_comes_back_bit_for_bit(level):
    assert_same(content(), unpack(pack(serialize(content()), level), where="x"))


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 2**32 - 1)),
        max_size=5,
    )
)
def test_any_arrays_come_back_bit_for_bit(described):
    arrays = {}
    for name, (dtype, shape, seed) in described.items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 256, size).astype(np.uint8)
        arrays[name] = np.frombuffer(raw.tobytes(), dtype=dtype).reshape(shape)
    assert_same(Content({}, arrays), unpack(pack(serialize(Content({}, arrays)), 1), where="x"))


def test_the_same_content_gives_the_same_bytes_in_another_process():
    code = (
        "import sys, hashlib; from tests.pack.test_container import content;"
        "from pgolf.pack.container import pack, serialize;"
        "assert 'torch' not in sys.modules;"
        "print(hashlib.sha256(pack(serialize(content()), 16)).hexdigest())"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True).stdout
    assert shown.strip() == hashlib.sha256(pack(serialize(content()), 16)).hexdigest()


def test_codes_of_six_bits_pack_to_about_their_entropy():
    codes = np.random.default_rng(0).integers(-32, 32, 400_000).astype(np.int8)
    packed = pack(serialize(Content({}, {"q": codes})), 16)
    # 6 bits of entropy in every byte; Huffman codes of 64 equally likely values are 6 bits long, tables come on top.
    assert 0.75 * len(codes) <= len(packed) <= 0.76 * len(codes)


def test_a_stopped_packing_ends_early_and_gives_nothing():
    stop = threading.Event()
    stop.set()
    assert pack(serialize(content()), 1, stop=stop) == b""


def test_a_file_cut_anywhere_is_an_error():
    whole = pack(serialize(content()), 1)
    for length in range(len(whole)):
        with pytest.raises(ArtifactError):
            unpack(whole[:length], where="cut.pgolf")


def test_a_flipped_bit_anywhere_is_an_error():
    whole = pack(serialize(content()), 1)
    for offset in range(len(whole)):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << (offset % 8)
        with pytest.raises(ArtifactError):
            unpack(bytes(damaged), where="flipped.pgolf")


def test_something_appended_is_an_error():
    with pytest.raises(ArtifactError, match="has something appended"):
        unpack(pack(serialize(content()), 1) + b"\0", where="x")


def forged(
    decoded: bytes, *, version: int = FORMAT_VERSION, claimed: int | None = None, frame: bytes | None = None
) -> bytes:
    """A container with a right checksum around whatever a forger likes."""
    frame = zstandard.ZstdCompressor(level=1).compress(decoded) if frame is None else frame
    prefix = struct.pack("<8sHHQQ", MAGIC, version, 0, len(frame), len(decoded) if claimed is None else claimed)
    return prefix + hashlib.sha256(prefix + frame).digest() + frame


def test_a_newer_version_is_an_error_that_says_so():
    with pytest.raises(ArtifactError, match=rf"version {FORMAT_VERSION + 1}, this pgolf reads up to {FORMAT_VERSION}"):
        unpack(forged(serialize(content()), version=FORMAT_VERSION + 1), where="x")


def test_the_forger_can_write_a_good_file_so_his_bad_ones_test_what_they_should():
    assert_same(content(), unpack(forged(serialize(content())), where="x"))
    assert len(forged(b"")) > PREFIX_BYTES


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    bomb = forged(bytes(50_000_000))
    assert len(bomb) < 10_000
    with pytest.raises(ArtifactError, match=r"would decode to 50,000,000 bytes, more than the 1,000,000"):
        unpack(bomb, where="x", max_decoded_bytes=1_000_000)


def test_a_bomb_that_lies_about_its_size_is_refused():
    with pytest.raises(ArtifactError, match=r"claims 50,000,000 bytes, the prefix 1,000"):
        unpack(forged(bytes(50_000_000), claimed=1_000), where="x", max_decoded_bytes=1_000_000)


def test_a_frame_that_claims_no_size_is_refused():
    frame = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(bytes(50_000_000))
    with pytest.raises(ArtifactError, match="its zstd frame claims"):
        unpack(forged(bytes(1_000), frame=frame), where="x", max_decoded_bytes=1_000_000)


def test_two_frames_or_none_are_refused():
    one = zstandard.ZstdCompressor(level=1).compress(serialize(content()))
    for frame in (one + one, b"", b"no frame at all"):
        with pytest.raises(ArtifactError, match="zstd frame"):
            unpack(forged(serialize(content()), frame=frame), where="x")


def test_writing_more_than_a_reader_accepts_is_refused():
    with pytest.raises(ArtifactError, match="a container holds at most 100"):
        serialize(content(), max_decoded_bytes=100)


def with_header(header: object, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return forged(struct.pack("<I", len(text)) + text + payload)


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
        ({"meta": {}, "arrays": []}, b"left over"),
    ],
)
def test_a_header_that_makes_no_sense_is_an_error(header, payload):
    with pytest.raises(ArtifactError, match="its header makes no sense"):
        unpack(with_header(header, payload), where="x")


def test_a_header_longer_than_the_content_is_an_error():
    with pytest.raises(ArtifactError, match="its header makes no sense"):
        unpack(forged(struct.pack("<I", 2**32 - 1) + b"{}"), where="x")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_an_error_and_never_a_crash(noise):
    for file_bytes in (noise, MAGIC + noise, forged(noise)):
        with pytest.raises(ArtifactError):
            unpack(file_bytes, where="x")
