"""Who moves what, at the published sizes, and one AdamW step by its formula."""

import pytest
import torch

from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.init import initial_model
from pgolf.ranks.group import Ranks
from pgolf.train.config import TrainConfig
from pgolf.train.groups import group_parameters
from pgolf.train.optimizers import Optimizers
from tests.train.runs import TINY


def groups_of(config):
    with torch.device("meta"):
        model = GPT(config)
    groups = group_parameters(model)
    named = [*groups.tables, *groups.matrices, *groups.projections, *groups.scalars]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters())
    return groups


def test_every_parameter_of_715_is_in_its_group():
    groups = groups_of(ModelConfig())
    assert list(groups.tables) == ["tok_emb.weight", "bigram.embed.weight"]
    assert len(groups.matrices) == 66
    assert list(groups.projections) == ["bigram.proj.weight"]
    assert {name.split(".", 2)[-1] for name in groups.scalars if name.startswith("blocks.")} == {
        "attn.q_gain",
        "attn.vr_lambda",
        "attn.attn_gate.weight",
        "attn.attn_gate.bias",
        "attn_scale",
        "mlp_scale",
        "resid_mix",
    }
    assert {name for name in groups.scalars if not name.startswith("blocks.")} == {
        "skip_weights",
        "smear.gate",
        "bigram.scale",
    }


def test_the_value_embedding_of_792_is_shared_out_like_the_bigrams():
    groups = groups_of(ModelConfig(value_residual=False, gated_attention=False, value_embedding_layers=(9, 10)))
    assert list(groups.tables) == ["tok_emb.weight", "bigram.embed.weight", "ve_shared.embed.weight"]
    assert len(groups.matrices) == 66
    assert list(groups.projections) == ["bigram.proj.weight", "ve_shared.proj.weight"]
    assert {"ve_shared.scale", "ve_layer_scales.0", "ve_layer_scales.1"} <= set(groups.scalars)


@pytest.mark.parametrize(
    ("decays", "of_tables", "of_scalars"),
    [
        ({"adam_weight_decay": 0.5}, 0.5, 0.5),
        ({"adam_weight_decay": 0.5, "embedding_weight_decay": 0.0, "scalar_weight_decay": 4.0}, 0.0, 4.0),
        ({"adam_weight_decay": 0.5, "embedding_weight_decay": 9.0}, 9.0, 0.5),
    ],
)
def test_adamw_steps_each_group_at_its_own_scaled_rate_with_decay_on_gains_too(decays, of_tables, of_scalars):
    """First step: both bias corrections cancel, so θ ← θ (1 - lr wd) - lr g / (|g| + eps)."""
    config = TrainConfig(embedding_lr=0.04, scalar_lr=0.02, **decays)
    model = initial_model(TINY.model, 0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, -3.0)
    model.blocks[0].attn.vr_lambda.grad = None
    Optimizers(model, config, Ranks()).step(rate_scale=0.5, momentum=0.9)
    gain = model.blocks[1].attn.q_gain.detach()
    torch.testing.assert_close(gain, before["blocks.1.attn.q_gain"] * (1 - 0.01 * of_scalars) + 0.01)
    table = model.tok_emb.weight.detach().float()
    expected = before["tok_emb.weight"].float() * (1 - 0.02 * of_tables) + 0.02
    torch.testing.assert_close(table, expected, rtol=2**-7, atol=2**-12)  # stored and averaged in bfloat16
    assert torch.equal(model.blocks[0].attn.vr_lambda, before["blocks.0.attn.vr_lambda"])
