"""The soft cap on logits, c · tanh(z / c), with the roundings of the graphs that the published runs computed it in.

Source: Gemma 2 (2024) for the cap. In bfloat16 logits of 8 to 16 lie 0.0625 apart, so the places where they are rounded
show in a token's loss (by up to 0.01 nats) and entropy: compare only what was rounded alike.
"""

from typing import Literal

import torch
from torch import Tensor

LogitRounding = Literal["each", "once", "none"]


def softcapped(z: Tensor, cap: float, rounding: LogitRounding) -> Tensor:
    """c · tanh(z / c) in float32, of z's shape; in between rounded to z's format as `rounding` says.

    each: after every operation (the uncompiled evaluations of #745 and #792). once: at the end (compiled logits).
    none: nowhere (a compiled loss, which goes on to the cross-entropy in float32). For float32 z all are the same.
    """
    if rounding == "each":
        return (cap * torch.tanh(z / cap)).float()
    capped = cap * torch.tanh(z.float() / cap)
    return capped if rounding == "none" else capped.to(z.dtype).float()
