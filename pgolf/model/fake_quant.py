"""Fake quantization: rounded weights in the forward pass, straight-through gradients in the backward pass.

Shapes: R rows (outputs), C columns (inputs).
Source: the late QAT of Parameter Golf PRs #745 and #792 (straight-through estimator, Bengio et al. 2013).
"""

import torch
from torch import Tensor


def fake_quantized(W_RC: Tensor, bits: int) -> Tensor:
    """W + sg(Ŵ - W) with Ŵ = clamp(round(W / s), -q - 1, q) · s, s = max(max |row|, 1) / q, q = 2^(bits-1) - 1."""
    levels = (1 << (bits - 1)) - 1
    detached_RC = W_RC.detach()
    scale_R1 = detached_RC.abs().amax(dim=1, keepdim=True).clamp_min(1.0) / levels
    rounded_RC = torch.clamp(torch.round(detached_RC / scale_R1), -levels - 1, levels) * scale_R1
    return W_RC + (rounded_RC - detached_RC)
