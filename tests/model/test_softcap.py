"""The soft cap and its three roundings."""

import math

import pytest
import torch

from pgolf.model.softcap import softcapped


def bf16(x: float) -> float:
    """The nearest bfloat16, ties to even: 8 significant bits."""
    step = 2.0 ** (math.floor(math.log2(abs(x))) - 7) if x else 1.0
    return round(x / step) * step


Z = [0.37 * i for i in range(-120, 120)]


def test_each_rounds_every_operation_once_rounds_the_result_and_none_does_not():
    z = torch.tensor(Z, dtype=torch.bfloat16)
    exact = [30 * math.tanh(v / 30) for v in z.tolist()]
    each = [bf16(30 * bf16(math.tanh(bf16(v / 30)))) for v in z.tolist()]
    assert softcapped(z, 30.0, "each").tolist() == each
    assert softcapped(z, 30.0, "once").tolist() == [bf16(v) for v in exact]
    assert softcapped(z, 30.0, "none").tolist() == pytest.approx(exact, rel=1e-6)  # float32 arithmetic
    assert each != [bf16(v) for v in exact]


def test_all_roundings_of_float32_are_the_same():
    z = torch.tensor(Z)
    results = [softcapped(z, 30.0, rounding) for rounding in ("each", "once", "none")]
    assert all(result.dtype == torch.float32 and torch.equal(result, results[0]) for result in results)


def test_gradients_pass_the_roundings_by():
    for rounding in ("each", "once", "none"):
        z = torch.tensor(Z, dtype=torch.bfloat16, requires_grad=True)
        softcapped(z, 30.0, rounding).sum().backward()
        expected = [1 - math.tanh(v / 30) ** 2 for v in z.tolist()]
        assert z.grad.tolist() == pytest.approx(expected, abs=0.01)  # bfloat16 keeps 8 bits
