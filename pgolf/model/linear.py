"""A linear map without bias whose float32 weight is cast to the input's dtype when used; LoRA adapters for it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgolf.model.fake_quant import fake_quantized


class Adapter(NamedTuple):
    """A low-rank (LoRA) update of a linear map: W + up · down, with down [r, in] and up [out, r].

    Source: Hu et al. 2021, without its factor alpha / r.
    """

    down: Tensor
    up: Tensor

    def of(self, x: Tensor) -> Tensor:
        """The adapter's contribution to x Wᵀ, in x's dtype."""
        return F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))


class CastedLinear(nn.Module):
    """y = x Wᵀ with W [out, in] stored in float32; the product is computed in x's dtype. W is zero until set.

    adapter: added to W; not part of the module's state.

    fake_bits: in training mode, use W rounded to this many bits; None: W itself. An instance attribute, so that a
    compiled network recompiles when it changes (for class attributes, torch 2.4 to 2.9 do not).
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_features, in_features))
        self.fake_bits: int | None = None
        self.adapter: Adapter | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        weight: Tensor = self.weight
        if self.fake_bits is not None and self.training:
            weight = fake_quantized(weight, self.fake_bits)
        y = F.linear(x, weight.to(x.dtype))
        return y if self.adapter is None else y + self.adapter.of(x)
