"""CROWN-Q: a training penalty on the variance that rounding the weights would add.

Shapes: N matrices of one shape, R rows, C columns of each.
Source: PR #745, which applies it to its two embedding projections only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def rounding_variance(matrices: Sequence[Tensor], bits: int) -> Tensor:
    """Σ over matrices and rows of mean(w²) · s² / 12 with the row's step s = max(max |w|, 1e-10) / q, float32 scalar.

    q = 2^(bits-1) - 1. Gradients pass through both factors.
    """
    by_shape: dict[torch.Size, list[Tensor]] = {}
    for matrix in matrices:
        by_shape.setdefault(matrix.shape, []).append(matrix)
    levels = (1 << (bits - 1)) - 1
    total = torch.zeros((), device=matrices[0].device)
    for alike in by_shape.values():
        w_NRC = torch.stack(alike).float()
        step_NR = w_NRC.abs().amax(dim=-1).clamp_min(1e-10) / levels
        total = total + (w_NRC.square().mean(dim=-1) * step_NR.square() / 12).sum()
    return total
