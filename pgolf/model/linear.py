"""A linear map without bias whose float32 weight is cast to its input's format at use."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CastedLinear(nn.Module):
    """y = x Wᵀ with W [out, in] kept in float32; the product runs in x's dtype. W is zero until set."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_features, in_features))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        return F.linear(x, self.weight.to(x.dtype))
