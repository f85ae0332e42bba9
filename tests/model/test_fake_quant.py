"""Fake quantization against its formula: rounded forward, untouched backward."""

import numpy as np
import pytest
import torch

from pgolf.model.fake_quant import fake_quantized
from pgolf.model.linear import CastedLinear

W_RC = 3 * torch.randn(7, 40, generator=torch.Generator().manual_seed(0))
W_RC[2] *= 0.05  # its largest is below 1: the floor of the scale holds
W_RC[3] = 0.0
W_RC[4] = -W_RC[4].abs()


@pytest.mark.parametrize(("bits", "levels"), [(6, 31), (5, 15), (8, 127)])
def test_rows_are_rounded_to_their_scale_which_is_at_least_one_step_of_one(bits, levels):
    fake = fake_quantized(W_RC, bits)
    for row, got in zip(W_RC.numpy(), fake.numpy()):
        scale = np.float32(max(np.abs(row).max(), np.float32(1.0))) / np.float32(levels)
        expected = np.clip(np.rint(row / scale), -levels - 1, levels) * scale
        np.testing.assert_allclose(got, expected, rtol=0, atol=4e-7 * max(1.0, np.abs(row).max()))
    assert (fake[3] == 0).all()


def test_the_scale_of_a_small_row_is_one_thirty_first():
    fake = fake_quantized(torch.tensor([[0.02, 0.0161, 0.0162, -0.4]]), 6)
    torch.testing.assert_close(fake, torch.tensor([[1.0, 0.0, 1.0, -12.0]]) / 31, rtol=0, atol=1e-7)


def test_the_gradient_is_that_of_the_unrounded_weights():
    weight = W_RC.clone().requires_grad_()
    direction = torch.randn(7, 40, generator=torch.Generator().manual_seed(1))
    (fake_quantized(weight, 6) * direction).sum().backward()
    assert torch.equal(weight.grad, direction)


def test_a_linear_map_rounds_its_weights_only_while_training_and_only_when_told():
    linear = CastedLinear(40, 7)
    with torch.no_grad():
        linear.weight.copy_(W_RC)
    x = torch.eye(40)
    assert torch.equal(linear(x), W_RC.T)
    linear.fake_bits = 6
    assert torch.equal(linear(x), fake_quantized(W_RC, 6).T)
    linear.eval()
    assert torch.equal(linear(x), W_RC.T)
