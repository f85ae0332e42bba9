"""AdamW against torch's own optimizer, which is the oracle here."""

import pytest
import torch
from torch import nn

from pgolf.train.adam import AdamW

OPTIONS = {"eps": 1e-8, "weight_decay": 0.04}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_are_those_of_torch_bit_for_bit(dtype):
    """Two tensors, one of them without a gradient in the second step; another rate in every step."""
    start = [torch.randn(7, 3).to(dtype), torch.randn(5).to(dtype)]
    ours, theirs = ([nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    adam = AdamW(parameters=ours, beta1=0.9, beta2=0.95, **OPTIONS)
    oracle = torch.optim.AdamW(theirs, betas=(0.9, 0.95), fused=True, **OPTIONS)
    for step, lr in enumerate((0.1, 0.03, 0.01)):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        if step == 1:
            ours[1].grad = theirs[1].grad = None
        adam.step(lr=lr)
        oracle.param_groups[0]["lr"] = lr
        oracle.step()
        assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))
