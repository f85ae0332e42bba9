"""Initial weights against the constructors whose draws they repeat."""

import math

import pytest
import torch
from torch import nn

from pgolf.model.config import ModelConfig
from pgolf.model.init import initial_model


def state_by_constructors(seed, *, layers, value_embedding, width=128, kv_width=64, mlp=192, vocab=96, buckets=80):
    """Draws as the original scripts make them: torch's own layers built in order, then the orthogonal pass."""
    torch.manual_seed(seed)
    state, orthogonal = {}, []
    tok_emb, bigram = nn.Embedding(vocab, width), nn.Embedding(buckets, 64)
    bigram_proj = nn.Linear(64, width, bias=False)
    orthogonal.append(("bigram.proj.weight", bigram_proj, 1 / math.sqrt(2 * layers)))
    for layer in range(layers):
        at = f"blocks.{layer}."
        c_q, c_k = nn.Linear(width, width, bias=False), nn.Linear(width, kv_width, bias=False)
        c_v, _proj = nn.Linear(width, kv_width, bias=False), nn.Linear(width, width, bias=False)
        if not value_embedding:  # the family with gates
            nn.Linear(width, 2, bias=True)
        fc, _down = nn.Linear(width, mlp, bias=False), nn.Linear(mlp, width, bias=False)
        for name, linear in (("attn.c_q", c_q), ("attn.c_k", c_k), ("attn.c_v", c_v), ("mlp.fc", fc)):
            orthogonal.append((f"{at}{name}.weight", linear, 1.0))
    if value_embedding:
        ve = nn.Embedding(vocab, 64)
        nn.init.normal_(ve.weight, std=0.01)
        orthogonal.append(("ve_shared.proj.weight", nn.Linear(64, kv_width, bias=False), 1 / math.sqrt(2 * layers)))
        state["ve_shared.embed.weight"] = ve.weight
    nn.init.normal_(tok_emb.weight, mean=0.0, std=0.005)
    state["tok_emb.weight"] = tok_emb.weight
    assert bigram.weight.shape == (buckets, 64)
    for name, linear, gain in orthogonal:
        nn.init.orthogonal_(linear.weight, gain=1.0)
        state[name] = linear.weight.detach() * gain
    return {name: tensor.detach().bfloat16() for name, tensor in state.items()}


@pytest.mark.parametrize("value_embedding", [False, True], ids=["715", "792"])
def test_draws_are_bit_equal_to_the_constructors_of_torch(value_embedding):
    config = ModelConfig(
        vocab_size=96,
        width=128,
        layers=3,
        heads=2,
        kv_heads=1,
        mlp_width=192,
        bigram_buckets=80,
        bigram_dim=64,
        value_residual=not value_embedding,
        gated_attention=not value_embedding,
        value_embedding_layers=(1, 2) if value_embedding else (),
        value_embedding_dim=64,
    )
    state = initial_model(config, 1337).state_dict()
    for name, expected in state_by_constructors(1337, layers=3, value_embedding=value_embedding).items():
        assert torch.equal(state[name].bfloat16(), expected), name


def test_constants_and_norms_are_the_published_ones():
    """At the published width and depth; Frobenius norms of section 11 of the specification, after bf16 rounding."""
    config = ModelConfig(vocab_size=64, bigram_buckets=16, layers=11, value_embedding_layers=(9, 10), mlp_width=128)
    state = initial_model(config, 42).state_dict()
    norms = {
        "bigram.proj.weight": math.sqrt(128 / 22),
        "ve_shared.proj.weight": math.sqrt(128 / 22),
        "blocks.0.attn.c_q.weight": math.sqrt(512),
        "blocks.10.attn.c_k.weight": 16.0,
        "blocks.3.attn.c_v.weight": 16.0,
        "blocks.3.mlp.fc.weight": math.sqrt(128),
        "blocks.3.attn.proj.weight": 0.0,
        "blocks.3.mlp.proj.weight": 0.0,
        "bigram.embed.weight": 0.0,
        "blocks.3.attn.attn_gate.weight": 0.0,
        "smear.gate": 0.0,
    }
    for name, norm in norms.items():
        assert state[name].float().norm().item() == pytest.approx(norm, rel=1e-3), name  # bf16 rounds by up to 2^-9
    assert state["bigram.scale"].item() == pytest.approx(0.05004883, abs=1e-8)
    assert state["ve_shared.scale"].item() == pytest.approx(0.10009766, abs=1e-8)
    assert state["blocks.2.attn.q_gain"].tolist() == [1.5] * 8
    assert state["blocks.2.attn.vr_lambda"].tolist() == [0.5, 0.5]
    assert state["blocks.2.attn.attn_gate.bias"].tolist() == [4.0] * 8
    assert state["ve_layer_scales.1"].tolist() == [1.0]
    for name in ("skip_weights", "blocks.2.attn_scale", "blocks.2.mlp_scale"):
        assert (state[name] == 1).all()
    assert (state["blocks.2.resid_mix"][0] == 1).all()
    assert (state["blocks.2.resid_mix"][1] == 0).all()
    for name, tensor in state.items():
        assert torch.equal(tensor, tensor.bfloat16().to(tensor.dtype)), f"{name} is not rounded to bfloat16"


def test_another_seed_gives_other_weights_and_the_same_seed_the_same():
    config = ModelConfig(vocab_size=64, width=64, layers=1, heads=2, kv_heads=1, mlp_width=64, bigram_buckets=16)
    first, again, other = (initial_model(config, seed).tok_emb.weight for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
