"""The network against its definition, its published sizes, and what it must not see."""

import collections
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pgolf.model import attention, gpt
from pgolf.model.config import ModelConfig
from pgolf.model.embedding import bigram_bucket
from pgolf.model.init import initial_model
from pgolf.model.linear import CastedLinear
from pgolf.model.precision import Precision, precision_for
from pgolf.model.rope import ntk_base
from tests.model.networks import (
    SMALL,
    SMALL_715,
    SMALL_745,
    SMALL_792,
    SMALL_1493,
    perturbed_model,
    some_tokens,
)
from tests.oracles.plain_network import logits_by_definition

every_family = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL.keys())


@every_family
@pytest.mark.parametrize("length", [1, 7, 11])  # the rotary base rises beyond 7
def test_logits_equal_the_definition(config, length):
    model = perturbed_model(config)
    tokens_BT = some_tokens(2, length, config.vocab_size)
    state = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        logits_BTV = model.logits(model.hidden(tokens_BT)).numpy()
    for row in range(2):
        expected_TV = logits_by_definition(config, state, tokens_BT[row].tolist())
        # float32 through five blocks against float64; logits are of order 1 to 30
        np.testing.assert_allclose(logits_BTV[row], expected_TV, rtol=0, atol=2e-4)


@pytest.mark.parametrize("length", [1, 7, 11])
def test_before_its_loops_are_switched_on_a_network_runs_every_block_once(length):
    """Rows of skip weights and gates join other layers then, and the last ones none."""
    model = perturbed_model(SMALL_1493)
    model.loops = False
    tokens_BT = some_tokens(1, length, SMALL_1493.vocab_size)
    state = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        logits_TV = model.logits(model.hidden(tokens_BT))[0].numpy()
    expected_TV = logits_by_definition(SMALL_1493, state, tokens_BT[0].tolist(), loops=False)
    np.testing.assert_allclose(logits_TV, expected_TV, rtol=0, atol=2e-4)


def test_a_compiled_network_sees_its_loops_switched_on_and_off():
    """Captured whole, as on CUDA; the capture is what could have frozen the switch, whatever compiles it further."""
    model = perturbed_model(SMALL_1493)
    tokens_BT = some_tokens(2, 8, SMALL_1493.vocab_size)
    compiled = torch.compile(model.loss, dynamic=False, fullgraph=True, backend="eager")
    losses = []
    for loops in (False, True, False):
        model.loops = loops
        losses.append(compiled(tokens_BT, tokens_BT).item())
        assert losses[-1] == model.loss(tokens_BT, tokens_BT).item()
    assert losses[0] == losses[2] != losses[1]


@every_family
def test_at_init_the_network_is_its_embedding_times_one_plus_the_skips(config):
    """All attention and MLP outputs start at 0 and every skip adds x0 once more: x = (1 + S) x0, norms to x0's norm.

    A gated skip mixes equal values: x = x0.
    """
    model = initial_model(config, 5)
    tokens_BT = some_tokens(2, 9, config.vocab_size)
    E_VD = model.tok_emb.weight.detach().double()
    e_BTD = F.rms_norm(E_VD[tokens_BT], (config.width,), eps=config.norm_eps_bf16_input)
    x0_BTD = e_BTD
    if config.smear == "channels":
        x0_BTD = 0.5 * e_BTD + 0.5 * F.pad(e_BTD[:, :-1], (0, 0, 1, 0))  # the gate starts at one half
    skips = 0 if config.skip_gates else (config.layers + len(config.recurrence)) // 2
    entered: list[torch.Tensor] = []
    model.block_list[-1].register_forward_hook(lambda _block, _inputs, output: entered.append(output[0].detach()))
    h_BTD = model.hidden(tokens_BT)
    # relative: x reaches 8, and each of up to seven blocks rounds to 2^-24 of it
    torch.testing.assert_close(entered[0].double(), (1 + skips) * x0_BTD, rtol=2e-6, atol=1e-6)
    f_BTD = F.rms_norm((1 + skips) * x0_BTD, (config.width,), eps=2**-23)
    expected = 30 * torch.tanh(f_BTD @ E_VD.T / 30)
    torch.testing.assert_close(model.logits(h_BTD).double(), expected, rtol=0, atol=1e-6)


@every_family
def test_altering_token_k_leaves_everything_before_k_unchanged(config):
    model = perturbed_model(config)
    tokens_BT = some_tokens(1, 10, config.vocab_size)
    with torch.no_grad():
        before = model.hidden(tokens_BT)
        for k in range(1, 10):
            altered_BT = tokens_BT.clone()
            altered_BT[0, k] = (altered_BT[0, k] + 1) % config.vocab_size
            after = model.hidden(altered_BT)
            assert torch.equal(before[:, :k], after[:, :k])
            assert not torch.equal(before[:, k], after[:, k])


def test_rows_do_not_see_each_other():
    model = perturbed_model(SMALL_715)
    tokens_BT = some_tokens(3, 8, SMALL_715.vocab_size)
    with torch.no_grad():
        together, alone = model.hidden(tokens_BT)[1:2], model.hidden(tokens_BT[1:2])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_loss_is_the_mean_cross_entropy_of_the_logits():
    model = perturbed_model(SMALL_715)
    tokens_BT = some_tokens(2, 9, SMALL_715.vocab_size)
    logits_BTV = model.logits(model.hidden(tokens_BT[:, :-1])).detach().double().numpy()
    log_mass_BT = np.log(np.exp(logits_BTV).sum(-1))
    target_BT = np.take_along_axis(logits_BTV, tokens_BT[:, 1:, None].numpy(), -1)[..., 0]
    loss = model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx((log_mass_BT - target_BT).mean(), abs=1e-5)


def test_layer_0s_value_mix_has_no_gradient_and_everything_else_has_one():
    model = perturbed_model(SMALL_715)
    tokens_BT = some_tokens(2, 9, SMALL_715.vocab_size)
    model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == ["blocks.0.attn.vr_lambda"]


def test_bigram_buckets_are_the_published_hash():
    tokens = [1023, 0, 5, 1023, 1023]
    hashed = [((36313 * a) ^ (27191 * b)) % 4095 for b, a in itertools.pairwise(tokens)]
    assert bigram_bucket(torch.tensor([tokens]), 4096).tolist() == [[4095, *hashed]]


def test_the_rotary_base_of_2048_positions_is_the_published_one():
    assert ntk_base(10_000.0, 2048, reference_length=1024, rope_dims=16) == pytest.approx(22_081.79, abs=0.005)
    assert ntk_base(10_000.0, 1024, reference_length=1024, rope_dims=16) == 10_000.0


def test_a_uniform_start_costs_about_ln_vocab():
    model = initial_model(ModelConfig(width=64, layers=2, heads=2, kv_heads=1, mlp_width=8, bigram_dim=8), 1)
    tokens_BT = some_tokens(4, 65, 1024)
    loss = model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).item()
    assert loss == pytest.approx(math.log(1024), abs=0.02)  # logits of spread 0.005 · √64


def test_precision_follows_the_device():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert precision_for(SMALL_715, cpu) == Precision(torch.float32, torch.float32)
    assert precision_for(SMALL_715, cuda) == Precision(torch.bfloat16, torch.bfloat16)
    assert precision_for(SMALL_792, cuda) == Precision(torch.bfloat16, torch.float32)


def formats_on_the_way(model, monkeypatch):
    """Fills, while `model` runs, station -> the set of number formats seen there."""
    seen: dict[str, set[torch.dtype]] = collections.defaultdict(set)

    def on(station, module, pick):
        module.register_forward_hook(lambda _module, inputs, output: seen[station].add(pick(inputs, output).dtype))

    def around(station, owner, name, pick):
        function = getattr(owner, name)

        def recording(*args, **kwargs):
            output = function(*args, **kwargs)
            seen[station].update(tensor.dtype for tensor in pick(args, output))
            return output

        monkeypatch.setattr(owner, name, recording)

    if model.config.smear == "channels":
        on("after the smear", model.smear, lambda _inputs, output: output)
    for block in model.block_list:
        on("after a block", block, lambda _inputs, output: output[0])
        on("normed", block.attn, lambda inputs, _output: inputs[0])
        on("values", block.attn, lambda _inputs, output: output[1])
        if block.attn.attn_gate is not None:
            on("gate", block.attn.attn_gate, lambda _inputs, output: output)
    for module in model.modules():
        if isinstance(module, CastedLinear):
            on("into a matrix", module, lambda inputs, _output: inputs[0])
            on("out of a matrix", module, lambda _inputs, output: output)
    around("queries and keys, normed", attention, "rotate", lambda args, _output: [args[0]])
    around("attention", attention.F, "scaled_dot_product_attention", lambda args, output: [*args[:3], output])
    around("after the exclusion", attention, "without_own_value", lambda _args, output: [output])
    around("raw logits", gpt, "softcapped", lambda args, _output: [args[0]])
    return seen


@every_family
def test_the_arithmetic_of_cuda_has_the_published_formats_at_every_station(config, monkeypatch):
    """Run on the CPU: an uncompiled pass of #715, #761, #1493 under torch 2.9, of #745 and #792 under torch 2.4.

    The two differ in the stream and what is normed; the network trains without a format clash, close to float32.
    """
    model = initial_model(config, 2)
    tokens_BT = some_tokens(2, 9, config.vocab_size)
    exact = model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
    monkeypatch.setattr(gpt.GPT, "precision", precision_for(config, torch.device("cuda")))
    seen = formats_on_the_way(model, monkeypatch)
    rounded = model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
    rounded.backward()

    stream = torch.float32 if config in (SMALL_745, SMALL_792) else torch.bfloat16
    expected = {
        "after a block": stream,
        "normed": stream,
        "queries and keys, normed": stream,
        "into a matrix": torch.bfloat16,
        "out of a matrix": torch.bfloat16,
        "values": torch.bfloat16,
        "attention": torch.bfloat16,
        "after the exclusion": torch.float32,
        "raw logits": torch.bfloat16,
    }
    if config.smear == "channels":
        expected["after the smear"] = stream
    if config.gated_attention:
        expected["gate"] = torch.bfloat16
    assert seen == {station: {format} for station, format in expected.items()}
    assert rounded.dtype == torch.float32
    assert all(p.grad.dtype == p.dtype for p in model.parameters() if p.grad is not None)
    assert rounded.item() == pytest.approx(exact.item(), abs=0.02)  # bfloat16 keeps 8 bits; logits are of order 0.03
