"""Packed files back to networks, and files that are none."""

import numpy as np
import pytest
import torch

from pgolf.errors import ArtifactError, DataError
from pgolf.model.checkpoint import build_model
from pgolf.pack.container import pack, serialize
from pgolf.pack.load import decode_packed, load_packed
from pgolf.pack.named_arrays import Content
from pgolf.pack.weights import restore, same_bits, to_content, to_float16, weights_digest
from pgolf.quant.rounding import round_to_nearest
from tests.pack.network import SMALL, random_state

FACTS = {"seed": "7", "stream_position": "123"}


def stored_network() -> tuple[dict, dict]:
    state = random_state()
    stored = {
        name: round_to_nearest(name, tensor, 6) if tensor.ndim == 2 else to_float16(name, tensor)
        for name, tensor in state.items()
    }
    return state, stored


def packed_network() -> bytes:
    state, stored = stored_network()
    content = to_content(stored, {name: tensor.dtype for name, tensor in state.items()}, SMALL, FACTS)
    return pack(serialize(content), 1)


def changed(**meta) -> bytes:
    state, stored = stored_network()
    content = to_content(stored, {name: tensor.dtype for name, tensor in state.items()}, SMALL, FACTS)
    return pack(serialize(Content({**content.meta, **meta}, content.arrays)), 1)


def test_a_loaded_network_has_the_dequantized_tensors_in_their_original_dtypes(tmp_path):
    (tmp_path / "model.pgolf").write_bytes(packed_network())
    loaded = load_packed(tmp_path / "model.pgolf")
    state, stored = stored_network()
    assert loaded.config == SMALL
    assert dict(loaded.facts) == FACTS
    assert set(loaded.state) == set(state)
    for name, tensor in state.items():
        assert same_bits(loaded.state[name], restore(stored[name], tensor.dtype)), name
    build_model(loaded.config, loaded.state).hidden(torch.zeros(1, 4, dtype=torch.int64))


def test_a_missing_file_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match=r"model\.pgolf: cannot be read .* run compress again"):
        load_packed(tmp_path / "model.pgolf")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"model_config": {}}, "the network 27,137,223 parameters"),  # every field has a default: the network of #715
        ({"model_config": None}, "model_config"),
        ({"model_config": {"width": "wide"}}, "model_config"),
        ({"model_config": {"unheard_of": 1}}, "model_config"),
        ({"facts": None}, "facts"),
        ({"facts": {"seed": 7}}, "facts"),
        ({"tensors": {}}, "make no sense"),
        ({"tensors": None}, "make no sense"),
        ({"tensors": {"nothing": "float32"}}, "make no sense"),
        ({"tensors": {"smear.gate": "complex64"}}, "make no sense"),
        ({"tensors": {"smear.gate": ["float32"]}}, "make no sense"),
    ],
)
def test_meta_that_describes_no_network_is_an_error(meta, message):
    with pytest.raises(ArtifactError, match=message):
        decode_packed(changed(**meta), where="x")


@pytest.mark.parametrize("codec", ["zstd", "rans"])
@pytest.mark.parametrize(
    "config",
    [
        {"width": 1 << 20},
        {"layers": 1024, "mlp_width": 1 << 20},
        {"mlp_width": 1 << 20},
        {"bigram_buckets": 1 << 28, "bigram_dim": 1 << 20},
    ],
)
def test_a_file_of_some_kilobytes_that_describes_a_network_of_terabytes_is_refused_before_it_is_built(config, codec):
    state, stored = stored_network()
    content = to_content(stored, {name: tensor.dtype for name, tensor in state.items()}, SMALL, FACTS)
    meta = {**content.meta, "model_config": SMALL.model_dump(mode="json") | config}
    forged = pack(serialize(Content(meta, content.arrays)), 0 if codec == "rans" else 1, codec=codec)
    with pytest.raises(
        ArtifactError, match=r"its tensors make no sense: 28,361 elements, the network [0-9,]+ parameters"
    ):
        decode_packed(forged, where="x")
    with pytest.raises(DataError, match="do not fit the network"):
        build_model(SMALL.model_validate(meta["model_config"]), state)


def test_codes_whose_scales_do_not_fit_are_an_error():
    arrays = {"w.q": np.zeros((3, 4), np.int8), "w.scale": np.zeros(4, np.float16)}
    meta = {"model_config": SMALL.model_dump(mode="json"), "facts": {}, "tensors": {"w": "float32"}}
    with pytest.raises(ArtifactError, match="make no sense"):
        decode_packed(pack(serialize(Content(meta, arrays)), 1), where="x")


def test_the_digest_of_weights_sees_every_bit_name_dtype_shape_and_the_config():
    state = random_state()
    digest = weights_digest(SMALL, state)
    assert weights_digest(SMALL, dict(reversed(state.items()))) == digest
    variants = []
    flipped = {name: tensor.clone() for name, tensor in state.items()}
    flipped["smear.gate"].view(torch.int32)[3] ^= 1
    variants.append(flipped)
    variants.append({("other" if name == "smear.gate" else name): tensor for name, tensor in state.items()})
    variants.append({**state, "tok_emb.weight": state["tok_emb.weight"].view(torch.float16)})
    variants.append({**state, "skip_weights": state["skip_weights"].T.contiguous().reshape(-1)})
    variants.append({**state, "skip_weights": state["skip_weights"].reshape(-1)})
    digests = [weights_digest(SMALL, variant) for variant in variants]
    digests.append(weights_digest(SMALL.model_copy(update={"logit_softcap": 20.0}), state))
    assert len({digest, *digests}) == 1 + len(digests)


def test_negative_zero_is_not_the_same_bits_as_zero():
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert same_bits(torch.tensor([float("nan")]), torch.tensor([float("nan")]))
    assert not same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.int32))
    assert not same_bits(torch.zeros(2), torch.zeros(1, 2))
