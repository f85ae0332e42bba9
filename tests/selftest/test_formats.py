"""The bfloat16 check: on a CPU the same casts are asked for explicitly, and every fault is planted."""

import pytest
import torch

from pgolf.model import gpt
from pgolf.model.config import ModelConfig
from pgolf.model.precision import Precision
from pgolf.recipes.systems import FULL, pr715, pr792, tiny
from pgolf.selftest import formats_check
from pgolf.selftest.check import Place
from pgolf.selftest.exercised import exercised_network, random_tokens
from pgolf.selftest.formats_check import judge, part_errors
from pgolf.selftest.rounding_error import attention_limit, gradient_limit, hidden_limit, mlp_limit, sum_limit


def on_cuda(config: ModelConfig, _device: object = None) -> Precision:
    """What a network computes in on CUDA, here on a CPU."""
    residual = torch.bfloat16 if config.residual_dtype == "bfloat16" else torch.float32
    return Precision(torch.bfloat16, residual)


def beyond(full, plant) -> set[str]:
    """The parts beyond their limit after a fault was planted into the network on the device."""
    model = tiny(full()).model
    faulty = exercised_network(model)
    with torch.no_grad():
        plant(faulty)
    tokens = random_tokens(model.vocab_size, 1, 128)
    errors = part_errors(exercised_network(model), faulty, tokens, on_cuda(model))
    return {part for part, error, limit in errors if error > limit}


def transposed(network):
    weight = network.blocks[5].attn.c_q.weight
    weight.copy_(weight.T.clone())


def gate_off(network):
    gate = network.blocks[5].attn.attn_gate
    gate.weight.zero_()
    gate.bias.fill_(30.0)


def slope_of_another_system(network):
    network.blocks[3].mlp.slope = 0.9


def keys_not_normed(network):
    attention = network.blocks[2].attn
    attention._normed_and_rotated = lambda x, heads, *_: x.view(*x.shape[:2], heads, attention.head_dim).transpose(1, 2)


@pytest.mark.parametrize("full", FULL)
def test_the_roundings_of_bfloat16_stay_within_half_of_their_limit(full):
    model = tiny(full()).model
    tokens = random_tokens(model.vocab_size, 1, 128)
    errors = part_errors(exercised_network(model), exercised_network(model), tokens, on_cuda(model))
    assert len(errors) == 2 * model.executed_layers
    assert max(error / limit for _, error, limit in errors) < 0.5
    assert all(error > 0 for _, error, _ in errors), "something was computed in float32"


@pytest.mark.parametrize(
    ("full", "plant", "part"),
    [
        (pr715, transposed, "attention 5"),
        (pr792, transposed, "attention 5"),
        (pr715, gate_off, "attention 5"),
        (pr715, slope_of_another_system, "MLP 3"),
        (pr715, keys_not_normed, "attention 2"),
    ],
)
def test_a_fault_in_one_layer_is_beyond_the_limit_and_named(full, plant, part):
    assert beyond(full, plant) == {part}


def test_the_check_passes_what_is_right_and_fails_skips_that_are_left_out(monkeypatch):
    monkeypatch.setattr(formats_check, "FULL", (pr715,))
    place = Place(None, torch.device("cpu"), None)
    assert formats_check.measure(place)["part_error"] == 0  # both in float32
    reference = gpt.GPT.hidden

    def hidden(self, *given):
        # The first call of each pair is the device's.
        monkeypatch.setattr(gpt, "precision_for", on_cuda if self.device_side else plain)
        return reference(self, *given)

    plain = gpt.precision_for
    made = []

    def network(config):
        made.append(exercised_network(config))
        made[-1].device_side = len(made) % 2 == 0
        return made[-1]

    monkeypatch.setattr(formats_check, "exercised_network", network)
    monkeypatch.setattr(gpt.GPT, "hidden", hidden)
    numbers = formats_check.measure(place)
    assert 0 < numbers["hidden_error"] < 0.5 * numbers["hidden_limit"]
    assert judge([numbers]).passed

    def without_skips(self, *given):
        if self.device_side:
            with torch.no_grad():
                self.skip_weights.zero_()
        return hidden(self, *given)

    monkeypatch.setattr(gpt.GPT, "hidden", without_skips)
    faulty = formats_check.measure(place)
    verdict = judge([numbers, faulty])
    assert not verdict.passed
    assert "rank 1" in judge([numbers, {**faulty, "part_error": 1.0}]).said


def test_a_number_that_is_none_fails():
    numbers = {"parts": 1, "part": "a", "part_error": 0.0, "part_limit": 1.0}
    numbers |= {"hidden": "b", "hidden_error": float("nan"), "hidden_limit": 1.0}
    assert not judge([numbers]).passed
    fine = {**numbers, "hidden_error": 0.5}
    assert judge([fine]).passed
    assert not judge([fine, numbers]).passed
    assert not judge([numbers, fine]).passed


def test_the_limits_are_those_that_are_derived():
    """In bfloat16, with as many roundings as pgolf/selftest/rounding_error.py counts."""
    unit = 2.0**-8
    assert attention_limit() == pytest.approx(unit * (16 + 31.5) ** 0.5)
    assert mlp_limit() == pytest.approx(unit * 19**0.5)
    model = pr715().model
    assert hidden_limit(model) == pytest.approx(unit * (11 * (16 + 31.5 + 19 + 13)) ** 0.5)
    assert gradient_limit(model) == pytest.approx(hidden_limit(model) * 6**0.5)


def test_the_bound_of_a_sum_is_that_of_its_additions():
    unit = 2.0**-8
    assert sum_limit(1, unit) == 0
    assert sum_limit(8, unit) == pytest.approx(7 * unit, rel=0.03)
    assert sum_limit(8, unit, divided=True) > sum_limit(8, unit)
