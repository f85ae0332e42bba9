"""A linear map without bias whose float32 weight is cast to its input's format at use."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgolf.model.fake_quant import fake_quantized


class CastedLinear(nn.Module):
    """y = x Wᵀ with W [out, in] kept in float32; the product runs in x's dtype. W is zero until set.

    fake_bits: while training, multiply by W rounded to this many bits; None: by W itself. An attribute of the instance,
    so that a compiled network notices when it is switched (on a class, torch 2.4 to 2.9 do not).
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_features, in_features))
        self.fake_bits: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        weight: Tensor = self.weight
        if self.fake_bits is not None and self.training:
            weight = fake_quantized(weight, self.fake_bits)
        return F.linear(x, weight.to(x.dtype))
