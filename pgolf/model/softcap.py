"""Logit softcapping, c · tanh(z / c), rounded at the same points as in the published runs.

Source: Gemma 2 (2024) for the cap. bfloat16 logits between 8 and 16 are 0.0625 apart, so where they are rounded affects
a token's loss (by up to 0.01 nats) and entropy: compare only scores with equal rounding.
"""

from typing import Literal

import torch
from torch import Tensor

LogitRounding = Literal["each", "once", "none"]


def softcapped(z: Tensor, cap: float, rounding: LogitRounding) -> Tensor:
    """c · tanh(z / c) as float32, of z's shape, with intermediate rounding to z's dtype.

    rounding: each: after every operation (the uncompiled evaluations of #745 and #792). once: at the end (compiled
    logits). none: never (a compiled loss, with cross-entropy in float32). All are equal for float32 z.
    """
    if rounding == "each":
        return (cap * torch.tanh(z / cap)).float()
    capped = cap * torch.tanh(z.float() / cap)
    return capped if rounding == "none" else capped.to(z.dtype).float()
