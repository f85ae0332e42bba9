"""Untying: the same function bit for bit, with a matrix of its own for every pass."""

import pytest
import torch

from pgolf.errors import ConfigError
from pgolf.model.checkpoint import build_model
from pgolf.model.config import ModelConfig
from pgolf.model.parameter_count import parameter_count
from pgolf.model.untie import untie
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from tests.model.networks import SMALL_745, SMALL_792, SMALL_1493, perturbed_model, some_tokens


def test_untying_leaves_the_logits_unchanged_bit_for_bit():
    tied = perturbed_model(SMALL_745)
    untied = build_model(*untie(SMALL_745, tied.state_dict()))
    tokens_BT = some_tokens(2, 11, SMALL_745.vocab_size)
    assert torch.equal(untied.logits(untied.hidden(tokens_BT)), tied.logits(tied.hidden(tokens_BT)))
    assert sum(p.numel() for p in untied.parameters()) == parameter_count(untied.config)


def test_untied_layers_are_those_of_745_and_share_no_memory():
    """Repeats of layers 4 and 5 come right after layer 5, and 6..10 move up by two."""
    config = ModelConfig.model_validate(SMALL_745.model_dump() | {"layers": 11, "recurrence": (4, 5)})
    state = perturbed_model(config).state_dict()
    untied_config, untied = untie(config, state)
    assert (untied_config.layers, untied_config.executed_layers, untied_config.recurrence) == (13, 13, ())
    assert ModelConfig.model_validate(untied_config.model_dump()) == untied_config
    for layer, physical in enumerate((0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 10)):
        for name in ("attn.c_q", "attn.c_k", "attn.c_v", "attn.proj", "mlp.fc", "mlp.proj"):
            assert torch.equal(untied[f"blocks.{layer}.{name}.weight"], state[f"blocks.{physical}.{name}.weight"])
        assert torch.equal(untied[f"blocks.{layer}.attn.q_gain"], state[f"blocks.{layer}.attn.q_gain"])
    places = [tensor.data_ptr() for name, tensor in untied.items() if ".attn.c_" in name]
    assert len(set(places)) == 3 * 13


def test_a_network_without_recurrence_stays_as_it_is():
    state = perturbed_model(SMALL_792).state_dict()
    config, untied = untie(SMALL_792, state)
    assert config == SMALL_792
    assert untied.keys() == state.keys()
    assert all(torch.equal(untied[name], state[name]) for name in state)


def test_the_gradient_of_a_shared_matrix_is_the_sum_over_its_passes():
    tied = perturbed_model(SMALL_745)
    untied = build_model(*untie(SMALL_745, tied.state_dict()))
    tokens_BT = some_tokens(2, 11, SMALL_745.vocab_size)
    for model in (tied, untied):
        model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()
    passes = {0: (0,), 1: (1, 3), 2: (2, 4), 3: (5,), 4: (6,)}
    for layer, executed in passes.items():
        for name in ("attn.c_q.weight", "attn.proj.weight", "mlp.fc.weight"):
            parts = [untied.get_parameter(f"blocks.{v}.{name}").grad for v in executed]
            whole = tied.get_parameter(f"blocks.{layer}.{name}").grad
            torch.testing.assert_close(whole, sum(parts), rtol=1e-5, atol=1e-6)  # float32 sums


def test_a_network_whose_passes_share_whole_blocks_is_not_untied():
    """The scale of a block's input goes by its depth, which a block of its own would not have."""
    state = perturbed_model(SMALL_1493).state_dict()
    with pytest.raises(ConfigError, match=r"recurrence_shares=blocks .*--set score\.ttt\.untie=false"):
        untie(SMALL_1493, state)
    without = SMALL_1493.model_copy(update={"recurrence": ()})
    assert untie(without, state)[0] == without


def test_a_recipe_that_would_untie_shared_blocks_is_refused_before_any_work_with_what_to_type():
    recipe, looped = recipe_named("pr761"), ["model.recurrence=(3, 4, 5)", "model.recurrence_shares=blocks"]
    with pytest.raises(ConfigError, match=r"--set score\.ttt\.untie=false"):
        apply_overrides(recipe, looped)
    looped.append("score.ttt.untie=false")
    assert apply_overrides(recipe, looped).model.executed_layers == 14
    # Of its blocks there are as many as layers, however often they run.
    with pytest.raises(ConfigError, match=r"frozen_blocks 11 freezes all 11 blocks .*frozen_blocks=10 is the most"):
        apply_overrides(recipe, [*looped, "score.ttt.frozen_blocks=11"])
