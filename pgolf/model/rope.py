"""Partial rotary position embeddings (RoPE) with the NTK rule for long rows.

Shapes: B rows, H heads, T positions of a row, K channels of a head, R rotated channels, P = R / 2 pairs.
Source: Su et al. 2021 (RoFormer); the base rule as in Parameter Golf PR #715.
"""

import torch
from torch import Tensor


def ntk_base(base: float, length: int, *, reference_length: int, rope_dims: int) -> float:
    """The rotary base for rows of `length`: unchanged up to the reference, then base · (T / ref)^(R / (R - 2)).

    10,000 becomes 22,081.79 at T = 2048 for R = 16, in training and evaluation alike.
    """
    if length <= reference_length:
        return base
    return float(base * (length / reference_length) ** (rope_dims / (rope_dims - 2)))


def rotation_tables(
    length: int, base: float, rope_dims: int, device: torch.device, frequency_dtype: str = "float32"
) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, P], float32, of the angles t · base^(-2i / R) for pair i.

    frequency_dtype: float32 or bfloat16, what base^(-2i / R) is rounded to. Positions and angles are float32.
    """
    exponents_P = torch.arange(0, rope_dims, 2, dtype=torch.float32, device=device) / rope_dims
    frequencies_P = 1.0 / (base**exponents_P)
    if frequency_dtype == "bfloat16":
        frequencies_P = frequencies_P.bfloat16().float()
    angles_TP = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequencies_P)
    return angles_TP.cos(), angles_TP.sin()


def rotate(x_BHTK: Tensor, cos_TP: Tensor, sin_TP: Tensor) -> Tensor:
    """Rotate channel pairs (i, i + P) of the first R = 2P channels by -angle; the other channels are unchanged."""
    pairs = cos_TP.shape[-1]
    cos_TP, sin_TP = cos_TP.to(x_BHTK.dtype), sin_TP.to(x_BHTK.dtype)
    a_BHTP, b_BHTP, rest = torch.split(x_BHTK, [pairs, pairs, x_BHTK.shape[-1] - 2 * pairs], dim=-1)
    return torch.cat((a_BHTP * cos_TP + b_BHTP * sin_TP, b_BHTP * cos_TP - a_BHTP * sin_TP, rest), dim=-1)
