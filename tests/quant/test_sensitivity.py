"""The loss's curvature, against the Fisher information from its definition."""

import pytest
import torch
from torch.nn import functional as F

from pgolf.errors import QuantizationError
from pgolf.model.gpt import GPT
from pgolf.quant.hessian import InputHessians
from pgolf.quant.sensitivity import Sensitivities
from tests.pack.network import SMALL, random_state


def network() -> GPT:
    model = GPT(SMALL)
    model.load_state_dict(random_state(spread=0.3))
    return model


def tokens(rows: int, length: int = 12) -> torch.Tensor:
    return torch.randint(0, SMALL.vocab_size, (rows, length), generator=torch.Generator().manual_seed(3))


def measured(model: GPT, batches: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    sensitivities = Sensitivities(model, seed=1)
    with InputHessians(model) as hessians, torch.inference_mode():
        for tokens_BT in batches:
            model.hidden(tokens_BT)
    with sensitivities:
        for tokens_BT in batches:
            sensitivities.add(tokens_BT)
    return dict(hessians.mean(len(batches))) | dict(sensitivities.factors(len(batches)))


def test_every_matrix_and_table_gets_what_its_shape_asks_for():
    model = network()
    factors = measured(model, [tokens(4), tokens(2)])
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 2 and (".c_" in name or "proj" in name or "fc" in name or "emb" in name):
            R, C = tensor.shape
            assert factors[name].shape == (C, C), name
            assert factors[f"{name}.rows"].shape == (R,), name
            assert bool((factors[f"{name}.rows"] >= 0).all())


def test_the_head_alone_rises_by_what_its_closed_form_says():
    # The table moves at the output only: to second order the loss at targets drawn from the network itself rises by the
    # Fisher information, here over all pairs of rows, of which the factors keep each row with itself.
    model = network()
    tokens_BT = tokens(16)
    with torch.no_grad():
        h_ND = model.hidden(tokens_BT).flatten(0, 1)
        logits_NV = model.logits(h_ND, "none")
        p_NV = logits_NV.softmax(dim=1)
        slope_NV = 1 - (logits_NV / SMALL.logit_softcap).square()
    sensitivities = Sensitivities(model)
    with sensitivities:
        sensitivities.add(tokens_BT)
    head_R = sensitivities._squares["head"] / len(h_ND)
    row = int(head_R.argmax())
    moved_D = 1e-3 * torch.randn(SMALL.width, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        z_N = (h_ND.float() @ moved_D) * slope_NV[:, row]
        expected = 0.5 * float((p_NV[:, row] * (1 - p_NV[:, row]) * z_N.square()).mean())
        moved_NV = logits_NV.double().clone()
        moved_NV[:, row] += z_N.double()
        rise = F.kl_div(moved_NV.log_softmax(1), logits_NV.double().softmax(1), reduction="batchmean")
    assert float(rise) == pytest.approx(expected, rel=1e-2)
    H_DD = sensitivities._products["head"] / len(h_ND)
    factored = 0.5 * float(head_R[row] * (moved_D.double() @ H_DD @ moved_D.double()))
    # The factors take input and output as independent.
    assert 0.3 < factored / expected < 3


def test_squares_are_those_of_the_gradient_at_each_output(monkeypatch):
    model = network()
    tokens_BT = tokens(3)
    targets_N = tokens(3).flatten().flip(0)
    monkeypatch.setattr(torch, "multinomial", lambda *_, **__: targets_N[:, None])
    factors = measured(model, [tokens_BT])
    name = "blocks.1.mlp.fc.weight"
    linear = model.blocks[1].mlp.fc
    kept = []
    hook = linear.register_forward_hook(lambda _m, _i, output: (output.retain_grad(), kept.append(output))[1])
    F.cross_entropy(model.logits(model.hidden(tokens_BT), "none").flatten(0, 1), targets_N, reduction="sum").backward()
    hook.remove()
    expected_R = kept[0].grad.double().flatten(0, 1).square().mean(dim=0) / tokens_BT.numel()
    torch.testing.assert_close(factors[f"{name}.rows"].double(), expected_R, rtol=1e-5, atol=0)


def test_rows_of_a_table_weigh_as_often_as_they_are_read():
    model = network()
    tokens_BT = tokens(5)
    factors = measured(model, [tokens_BT])
    weight_R = factors["bigram.embed.weight.rows"]
    assert float(weight_R.sum()) == pytest.approx(1.0)
    # The first position of every row has the last bucket to itself.
    assert float(weight_R[-1]) == pytest.approx(1 / tokens_BT.shape[1])


@pytest.mark.parametrize(
    ("limit", "size", "parts"),
    [("POSITIONS_AT_A_TIME", 24, [24, 24, 24]), ("LOGITS_AT_A_TIME", 17 * SMALL.vocab_size, [17, 17, 17, 17, 4])],
)
def test_parts_of_a_batch_add_up(limit, size, parts, monkeypatch):
    monkeypatch.setattr(torch, "multinomial", lambda p_NV, *_, **__: p_NV.argmax(1, keepdim=True))
    model = network()
    together = measured(model, [tokens(6)])
    monkeypatch.setattr(f"pgolf.quant.sensitivity.{limit}", size)
    of_head, logits = [], model.logits
    monkeypatch.setattr(model, "logits", lambda h, *args: of_head.append(len(h)) or logits(h, *args))
    apart = measured(model, [tokens(6)])
    assert of_head == parts
    for name, factor in together.items():
        # float32 products of 72 rows against those of a part.
        torch.testing.assert_close(apart[name], factor, rtol=1e-4, atol=1e-6 * float(factor.abs().max()))


def test_gradients_that_overflow_are_an_error():
    model = network()
    sensitivities = Sensitivities(model)
    with sensitivities:
        sensitivities.add(tokens(2))
    sensitivities._squares["blocks.0.mlp.fc.weight"][0] = float("inf")
    with pytest.raises(QuantizationError, match=r"blocks\.0\.mlp\.fc\.weight: the loss's gradient is NaN"):
        sensitivities.factors(1)
