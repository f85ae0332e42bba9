"""The published name rules, tensor by tensor of the #715 network."""

import pytest

from pgolf.quant.scheme import layer_of, tensor_class, treatment


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("tok_emb.weight", (1024, 512), "embedding"),
        ("bigram.embed.weight", (4096, 128), "embedding"),
        ("ve_shared.embed.weight", (1024, 128), "embedding"),
        ("bigram.proj.weight", (512, 128), "fp16"),
        ("ve_shared.proj.weight", (256, 128), "fp16"),
        ("blocks.0.attn.c_q.weight", (512, 512), "matrix"),
        ("blocks.10.attn.c_k.weight", (256, 512), "matrix"),
        ("blocks.10.attn.c_v.weight", (256, 512), "matrix"),
        ("blocks.3.attn.proj.weight", (512, 512), "matrix"),
        ("blocks.3.mlp.fc.weight", (1536, 512), "matrix"),
        ("blocks.3.mlp.proj.weight", (512, 1536), "matrix"),
        ("blocks.3.attn.attn_gate.weight", (8, 512), "fp16"),
        ("blocks.3.resid_mix", (2, 512), "fp16"),
        ("skip_weights", (5, 512), "fp16"),
        ("bigram.scale", (), "fp16"),
    ],
)
def test_every_kind_of_tensor_is_stored_as_published(name, shape, expected):
    assert treatment(name, shape, floating=True) == expected


def test_integers_are_kept_exactly_and_only_matrices_have_rows():
    assert treatment("blocks.0.attn.c_q.weight", (512, 512), floating=False) == "exact"
    assert treatment("blocks.0.attn.long", (100_000,), floating=True) == "fp16"


def test_the_float16_limit_is_inclusive():
    assert treatment("tok_emb.weight", (256, 256), floating=True) == "fp16"
    assert treatment("tok_emb.weight", (256, 257), floating=True) == "embedding"
    assert treatment("tok_emb.weight", (256, 256), floating=True, fp16_max_elements=65_535) == "embedding"


def test_class_and_layer_come_from_the_name():
    assert tensor_class("blocks.1.mlp.proj.weight") == "mlp"
    assert tensor_class("bigram.proj.weight") == "attn"  # the published rule: .proj. counts as attention
    assert tensor_class("lm_head.weight") == "embed"
    assert tensor_class("smear.gate") == "other"
    assert layer_of("blocks.10.attn.proj.weight") == 10
    assert layer_of("bigram.proj.weight") is None
