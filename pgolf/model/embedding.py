"""Embeddings: token table, hashed bigram table, smear gate, value embeddings.

Shapes: B rows, T positions, D residual width, N table rows, E table channels.
Tables are stored in bfloat16. A table is cast as a whole before lookup, so that on CPU the gradient of a row is summed
in float32 and rounded to bfloat16 once.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgolf.model.linear import CastedLinear


class Table(nn.Module):
    """An embedding table [N, E] in bfloat16. Zero until initialized or loaded."""

    def __init__(self, rows: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, channels, dtype=torch.bfloat16))

    def forward(self, index_BT: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows [B, T, E] in `dtype`."""
        return F.embedding(index_BT, self.weight.to(dtype))


class ScaledTable(nn.Module):
    """(table[index] Wᵀ) · scale: the bigram embedding and the value embedding."""

    def __init__(self, rows: int, channels: int, out_width: int) -> None:
        super().__init__()
        self.embed = Table(rows, channels)
        self.proj = CastedLinear(channels, out_width)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, index_BT: Tensor, dtype: torch.dtype) -> Tensor:
        """[B, T, out_width] in `dtype`."""
        projected: Tensor = self.proj(self.embed(index_BT, dtype))
        return projected * self.scale.to(dtype)


def bigram_bucket(tokens_BT: Tensor, buckets: int) -> Tensor:
    """Row of the bigram table for each position, int64 [B, T]: a hash of (token, previous token) in 0..buckets - 2.

    The first position of each row has no predecessor and gets the last bucket, reserved for it.
    Source: BigramHash of PR #715; its int32 arithmetic agrees for its 1,024 tokens and would wrap above 59,138.
    """
    hashed_BT = (36_313 * tokens_BT[:, 1:]).bitwise_xor(27_191 * tokens_BT[:, :-1]) % (buckets - 1)
    return F.pad(hashed_BT, (1, 0), value=buckets - 1)


class SmearGate(nn.Module):
    """x_t ← (1 - g) x_t + g x_{t-1} with g = σ(gate) per channel and x_{-1} = 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] to the same shape and dtype."""
        g_D = torch.sigmoid(self.gate).to(x_BTD.dtype)
        before_BTD = F.pad(x_BTD[:, :-1], (0, 0, 1, 0))
        return (1 - g_D) * x_BTD + g_D * before_BTD
