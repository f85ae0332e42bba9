"""Shares of a packed file: they add up to it, and follow what each tensor needs."""

import numpy as np
import pytest

from pgolf.errors import ArtifactError
from pgolf.pack.container import pack, serialize
from pgolf.pack.named_arrays import Content
from pgolf.pack.tensor_bytes import HEADER, tensor_bytes, tensor_group


def content():
    """Codes of 3 and of 6 bits, floats, one tensor that is all alike."""
    draw = np.random.default_rng(2)
    arrays = {
        "blocks.0.mlp.fc.weight.q": draw.integers(-4, 4, (200, 300), np.int8),
        "blocks.0.mlp.fc.weight.scale": draw.random(200).astype(np.float16),
        "blocks.1.mlp.fc.weight.q": draw.integers(-32, 32, (200, 300), np.int8),
        "blocks.1.mlp.fc.weight.scale": draw.random(200).astype(np.float16),
        "norm.weight": draw.random(3000).astype(np.float32),
        "zeros": np.zeros(50_000, np.float16),
    }
    names = ("blocks.0.mlp.fc.weight", "blocks.1.mlp.fc.weight", "norm.weight", "zeros")
    return Content({"tensors": dict.fromkeys(names, "bfloat16")}, arrays)


@pytest.mark.parametrize(("codec", "level"), [("zstd", 3), ("xz", 1), ("brotli", 2), ("rans", 0)])
def test_the_shares_of_every_codec_add_up_to_the_file_and_are_near_what_codes_need(tmp_path, codec, level):
    path = tmp_path / "model.pgolf"
    path.write_bytes(pack(serialize(content()), level, codec=codec))
    found_codec, tensors = tensor_bytes(path)
    assert found_codec == codec
    assert sum(tensor.packed_bytes for tensor in tensors) == path.stat().st_size
    by_name = {tensor.tensor: tensor for tensor in tensors}
    assert list(by_name) == [*content().meta["tensors"], HEADER]
    narrow, wide = (by_name[f"blocks.{k}.mlp.fc.weight"] for k in (0, 1))
    # Uniform codes can be packed no smaller than 3 and 6 bits each, and every codec comes within a fifth of that.
    assert 3.0 <= 8 * narrow.packed_bytes / narrow.elements < 3.6
    assert 6.0 <= 8 * wide.packed_bytes / wide.elements < 7.2
    assert (narrow.stored, wide.stored) == ("codes of 3 bits", "codes of 6 bits")
    assert by_name["norm.weight"].stored == "float32"
    assert by_name["zeros"].packed_bytes < 1000
    assert by_name[HEADER].packed_bytes > 60
    assert sum(tensor.plain_bytes for tensor in tensors) == len(serialize(content()))


def test_a_file_that_is_none_of_ours_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.pgolf: cannot be read"):
        tensor_bytes(tmp_path / "none.pgolf")
    (tmp_path / "other.pgolf").write_bytes(b"something else")
    with pytest.raises(ArtifactError, match="this is another file"):
        tensor_bytes(tmp_path / "other.pgolf")


@pytest.mark.parametrize(
    ("name", "group"),
    [("blocks.11.mlp.fc.weight", "blocks.mlp.fc"), ("tok_emb.weight", "tok_emb"), ("skip_weights", "skip_weights"),
     ("banks.qk_0", "banks")],
)  # fmt: skip
def test_a_tensors_group_is_its_name_without_the_layer_and_the_last_word(name, group):
    assert tensor_group(name) == group
