"""Initial weights against the constructors whose draws they repeat."""

import math

import pytest
import torch
from torch import nn

from pgolf.model.config import ModelConfig
from pgolf.model.init import initial_model
from tests.model.networks import PUBLISHED


def linear(in_features, out_features, bias=False):
    return nn.Linear(in_features, out_features, bias=bias)


def state_by_constructors(config, seed):
    """Draws as the original scripts make them: torch's own layers built in order, then the table, then orthogonal_."""
    torch.manual_seed(seed)
    width, kv_width, banks = config.width, config.kv_heads * config.width // config.heads, config.init_draws == "banks"
    state = {}
    tok_emb, bigram = nn.Embedding(config.vocab_size, width), nn.Embedding(config.bigram_buckets, config.bigram_dim)
    assert bigram.weight.shape == (config.bigram_buckets, config.bigram_dim)  # drawn, then zero
    bigram_proj = linear(config.bigram_dim, width)
    layers = []
    for layer in range(config.layers + len(config.recurrence)):
        if not banks:
            c_q, c_k, c_v, _proj = (linear(width, out) for out in (width, kv_width, kv_width, width))
        if config.gated_attention:
            linear(width, config.heads, bias=True)
        if not banks:
            fc, _down = linear(width, config.mlp_width), linear(config.mlp_width, width)
            names = ("attn.c_q", "attn.c_k", "attn.c_v", "mlp.fc")
            layers += [(f"blocks.{layer}.{n}.weight", m.weight) for n, m in zip(names, (c_q, c_k, c_v, fc))]
    projections = [("bigram.proj.weight", bigram_proj.weight)]
    if config.value_embedding_layers:
        ve = nn.Embedding(config.vocab_size, config.value_embedding_dim)
        nn.init.normal_(ve.weight, std=0.01)
        state["ve_shared.embed.weight"] = ve.weight
        ve_proj = linear(config.value_embedding_dim, kv_width)
    nn.init.normal_(tok_emb.weight, mean=0.0, std=0.005)
    state["tok_emb.weight"] = tok_emb.weight
    if banks:
        qo, kv = torch.empty(2 * config.layers, width, width), torch.empty(2 * config.layers, kv_width, width)
        up = torch.empty(config.layers, config.mlp_width, width)
        for p in range(config.layers):
            layers += [(f"blocks.{p}.attn.c_q.weight", qo[p]), (f"blocks.{p}.attn.c_k.weight", kv[p])]
            layers += [(f"blocks.{p}.attn.c_v.weight", kv[config.layers + p]), (f"blocks.{p}.mlp.fc.weight", up[p])]
    order = [*layers, *projections] if banks else [*projections, *layers]
    if config.value_embedding_layers:
        order.append(("ve_shared.proj.weight", ve_proj.weight))
    for name, matrix in order:
        nn.init.orthogonal_(matrix, gain=1.0)
        by_depth = not banks and name.endswith("proj.weight")
        state[name] = matrix.detach() * (1 / math.sqrt(2 * config.layers)) if by_depth else matrix
    return {name: tensor.detach().bfloat16() for name, tensor in state.items()}


@pytest.mark.parametrize("name", ["715", "745", "792"])
def test_draws_are_bit_equal_to_the_constructors_of_torch(name):
    """At the published sizes."""
    state = initial_model(PUBLISHED[name], 1337).state_dict()
    expected = state_by_constructors(PUBLISHED[name], 1337)
    assert len(expected) == 1 + 1 + 4 * 11 + (0 if name == "715" else 2)
    for tensor_name, tensor in expected.items():
        assert torch.equal(state[tensor_name].bfloat16(), tensor), tensor_name


@pytest.mark.parametrize(("name", "projection_norm"), [("715", 2.412), ("745", 11.314), ("792", 2.412)])
def test_constants_and_norms_are_the_published_ones(name, projection_norm):
    """At the published widths; after bfloat16 rounding, which moves a norm by far less than 2^-9 of it."""
    config = PUBLISHED[name].model_copy(update={"vocab_size": 64, "bigram_buckets": 16})
    model = initial_model(config, 42)
    state = model.state_dict()
    norms = {"bigram.proj.weight": projection_norm, "bigram.embed.weight": 0.0, "smear.gate": 0.0}
    if config.value_embedding_layers:
        norms["ve_shared.proj.weight"] = projection_norm
        assert state["ve_shared.scale"].item() == pytest.approx(0.10009766, abs=1e-8)
        assert [scale.tolist() for scale in model.ve_layer_scales] == [[1.0], [1.0]]
    for layer in (0, 10):
        matrix_norms = {"attn.c_q": 22.63, "attn.c_k": 16.0, "attn.c_v": 16.0, "attn.proj": 0.0}
        matrix_norms |= {"mlp.fc": 22.63, "mlp.proj": 0.0}
        norms |= {f"blocks.{layer}.{matrix}.weight": norm for matrix, norm in matrix_norms.items()}
    for tensor_name, norm in norms.items():
        assert state[tensor_name].float().norm().item() == pytest.approx(norm, rel=5e-4), tensor_name
    assert state["bigram.scale"].item() == pytest.approx(0.05004883, abs=1e-8)
    assert (state["skip_weights"] == 1).all()
    assert len(model.block_list) == (13 if name == "745" else 11)
    for block in model.block_list:
        assert block.attn.q_gain.tolist() == [1.5] * 8
        assert (block.attn_scale == 1).all()
        assert (block.mlp_scale == 1).all()
        assert (block.resid_mix[0] == 1).all()
        assert (block.resid_mix[1] == 0).all()
        assert (block.attn.attn_gate is None) == (block.attn.vr_lambda is None) == (name == "792")
        if name != "792":
            assert block.attn.vr_lambda.tolist() == [0.5, 0.5]
            assert (block.attn.attn_gate.weight == 0).all()
            assert block.attn.attn_gate.bias.tolist() == [4.0] * 8
    for tensor_name, tensor in state.items():
        assert torch.equal(tensor, tensor.bfloat16().to(tensor.dtype)), f"{tensor_name} is not rounded to bfloat16"


def test_another_seed_gives_other_weights_and_the_same_seed_the_same():
    config = ModelConfig(vocab_size=64, width=64, layers=1, heads=2, kv_heads=1, mlp_width=64, bigram_buckets=16)
    first, again, other = (initial_model(config, seed).tok_emb.weight for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
