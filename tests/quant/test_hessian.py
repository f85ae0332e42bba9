"""Running XᵀX, against the inputs themselves."""

import math

import pytest
import torch
from torch import nn

from pgolf.errors import QuantizationError
from pgolf.model.linear import CastedLinear
from pgolf.quant.hessian import InputHessians


class Two(nn.Module):
    """Two maps fed the same tensor, and a third fed by the first."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.out = CastedLinear(6, 6), CastedLinear(6, 4), CastedLinear(6, 3)
        with torch.no_grad():
            for linear in (self.query, self.key, self.out):
                linear.weight.copy_(torch.randn(linear.weight.shape, generator=torch.Generator().manual_seed(1)))

    def forward(self, x):
        self.key(x)
        return self.out(self.query(x).relu())


def batches(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(3, 5, 6, generator=generator) for _ in range(count)]


def test_hessians_are_the_mean_over_batches_of_the_products_of_inputs():
    network, data = Two(), batches(4)
    with torch.inference_mode(), InputHessians(network) as hessians:
        for x_BTC in data:
            network(x_BTC)
    means = hessians.mean(4)
    assert set(means) == {"query.weight", "key.weight", "out.weight"}
    X_NC = torch.cat([x.reshape(-1, 6) for x in data]).double()
    relu_NC = (X_NC @ network.query.weight.double().T).relu()
    # Products are float32 of 15 rows each: about 1e-7 of entries near 15.
    torch.testing.assert_close(means["query.weight"].double(), X_NC.T @ X_NC / 4, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(means["out.weight"].double(), relu_NC.T @ relu_NC / 4, rtol=1e-5, atol=1e-4)
    assert torch.equal(means["key.weight"], means["query.weight"])
    assert all(mean.dtype == torch.float32 for mean in means.values())


def rounded(value: float) -> float:
    """To 8 significant bits, half to even: a bfloat16 of everyday size."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(math.ldexp(mantissa, 8)), exponent - 8)


def test_bfloat16_products_are_rounded_once_per_batch_between_rounded_inputs():
    network, data = Two(), batches(4)
    with torch.inference_mode(), InputHessians(network, "bfloat16") as hessians:
        for x_BTC in data:
            network(x_BTC)
    found_CC = hessians.mean(4)["query.weight"]
    expected_CC = torch.zeros(6, 6, dtype=torch.float64)
    for x_BTC in data:
        rows = [[rounded(value) for value in row] for row in x_BTC.reshape(-1, 6).tolist()]
        for i in range(6):
            for j in range(6):
                expected_CC[i, j] += rounded(math.fsum(row[i] * row[j] for row in rows)) / 4
    # Sums of four numbers of 8 bits are exact in float32.
    torch.testing.assert_close(found_CC.double(), expected_CC, rtol=0, atol=0)
    with torch.inference_mode(), InputHessians(network) as exact:
        for x_BTC in data:
            network(x_BTC)
    gap = (found_CC - exact.mean(4)["query.weight"]).abs().max() / found_CC.abs().max()
    assert 1e-5 < float(gap) < 2**-7


def test_hessians_are_symmetric_and_positive_semidefinite():
    network = Two()
    with torch.inference_mode(), InputHessians(network) as hessians:
        network(batches(1)[0])
    for mean_CC in hessians.mean(1).values():
        assert torch.equal(mean_CC, mean_CC.T)
        assert float(torch.linalg.eigvalsh(mean_CC.double()).min()) > -1e-4


def test_collecting_ends_with_the_block():
    network, (first, second) = Two(), batches(2)
    with torch.inference_mode(), InputHessians(network) as hessians:
        network(first)
    before = hessians.mean(1)
    with torch.inference_mode():
        network(second)
    after = hessians.mean(1)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_map_that_saw_nothing_and_inputs_that_overflow_are_errors_naming_it():
    network = Two()
    with InputHessians(network) as hessians:
        pass
    with pytest.raises(QuantizationError, match=r"query\.weight: no forward pass"):
        hessians.mean(1)
    with torch.inference_mode(), InputHessians(network) as hessians:
        network(torch.full((1, 2, 6), 1e30))
    with pytest.raises(QuantizationError, match=r"query\.weight: its inputs are NaN or infinite"):
        hessians.mean(1)
