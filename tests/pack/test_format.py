"""docs/format.md says enough: a reader written from it alone, in plain loops, reads what we write."""

import hashlib
import json
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from pgolf.pack.container import FORMAT_VERSION, MAGIC, PREFIX_BYTES, pack, serialize, unpack
from pgolf.pack.named_arrays import Content
from pgolf.pack.weights import to_content
from pgolf.quant.rounding import Quantized, round_embedding, round_to_nearest
from pgolf.quant.scheme import treatment
from tests.oracles.packed_reader import read_packed
from tests.pack.network import FP16_MAX_ELEMENTS, SMALL, random_state

ROWS = (("a", 512), ("b", 511), ("c", 1), ("d", 7))
PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()


def small_network() -> Content:
    """A network of every treatment: codes of 6, 5 and 8 bits, scales, float16, and an integer tensor."""
    state = random_state()
    stored = {}
    for name, tensor in state.items():
        kind = treatment(
            name, tuple(tensor.shape), floating=tensor.is_floating_point(), fp16_max_elements=FP16_MAX_ELEMENTS
        )
        if kind == "matrix":
            stored[name] = round_to_nearest(name, tensor, 5 if "blocks.1." in name else 6)
        elif kind == "embedding":
            stored[name] = round_embedding(name, tensor, 8)
        else:
            stored[name] = tensor.to(torch.float16)
    stored["steps"] = torch.tensor([1, -(2**40)])
    assert sum(isinstance(value, Quantized) for value in stored.values()) > 20
    dtypes = {name: tensor.dtype for name, tensor in state.items()} | {"steps": torch.int64}
    return to_content(stored, dtypes, SMALL, {"source": "é"})


@pytest.mark.parametrize("codec", ["rans", "xz"])
def test_a_reader_written_from_the_page_alone_reads_a_network(codec):
    content = small_network()
    meta, arrays = read_packed(pack(serialize(content), codec=codec))
    assert meta == content.meta
    assert list(arrays) == list(content.arrays)
    for name, (dtype, shape, raw) in arrays.items():
        array = content.arrays[name]
        assert (dtype, tuple(shape)) == (array.dtype.name, array.shape)
        assert raw == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_a_file_written_by_hand_from_the_page_is_read():
    header = json.dumps({"meta": {"a": 1}, "arrays": [["h", "float16", [2]], ["b", "uint8", [3]]]}).encode()
    # 1.0 and -2.0 are 3c00 and c000: low bytes of both, then the bytes of b, then the high bytes.
    content = struct.pack("<I", len(header)) + header + bytes([0x00, 0x00, 7, 8, 9, 0x3C, 0xC0])
    # In two parts, the first ending within the header.
    one, other = (lzma.compress(part, check=lzma.CHECK_NONE) for part in (content[:9], content[9:]))
    body = struct.pack("<5I", 2, len(one), 9, len(other), len(content) - 9) + one + other
    prefix = bytes.fromhex("8950474f4c460d0a") + struct.pack("<HHQQ", 3, 1, len(body), len(content))
    read = unpack(prefix + hashlib.sha256(prefix + body).digest() + body, where="by hand")
    assert read.meta == {"a": 1}
    assert read.arrays["h"].tolist() == [1.0, -2.0]
    assert read.arrays["b"].tolist() == [7, 8, 9]


def test_the_reader_of_the_page_reads_files_of_several_parts():
    # The first matrix is as large as a part has to be, the second is not.
    matrices = {name: np.arange(rows << 9, dtype=np.int64).astype(np.int8).reshape(rows, -1) for name, rows in ROWS}
    file_bytes = pack(serialize(Content({}, matrices)), codec="xz")
    assert struct.unpack_from("<I", file_bytes, PREFIX_BYTES) == (3,)
    _meta, arrays = read_packed(file_bytes)
    assert {name: raw for name, (_dtype, _shape, raw) in arrays.items()} == {
        name: matrix.tobytes() for name, matrix in matrices.items()
    }


def test_the_page_describes_this_version():
    assert MAGIC.hex(" ") in PAGE
    assert f"format version: {FORMAT_VERSION} |" in PAGE
