"""Causal grouped-query attention with value residual, value embedding, exclusive self-attention and a head gate.

Shapes: B rows, T positions, S of them (the last ones of each row) whose output is needed, D residual width,
H query heads, G key/value heads, Q = H / G query heads per group, K channels of a head (D = H · K), V = G · K channels
of all values.
Source: Parameter Golf PRs #715, #745 and #792; GQA from Ainslie et al. 2023.
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgolf.model.config import ModelConfig
from pgolf.model.kernels import causal_attention
from pgolf.model.linear import CastedLinear
from pgolf.model.precision import Precision
from pgolf.model.rope import rotate


class HeadGate(nn.Module):
    """σ(u Wᵀ + b): one factor per query head, from the block's scaled, normed input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads, width))
        self.bias = nn.Parameter(torch.zeros(heads))

    def forward(self, u_BTD: Tensor) -> Tensor:
        """u [B, T, D] to gates [B, T, H] in u's dtype."""
        return torch.sigmoid(F.linear(u_BTD, self.weight.to(u_BTD.dtype), self.bias.to(u_BTD.dtype)))


class Attention(nn.Module):
    """The attention of one block. Parameters are zero until initialized or loaded.

    Blocks beyond the physical layers own no linear maps; `forward` gets the ones to use.
    """

    c_q: CastedLinear
    c_k: CastedLinear
    c_v: CastedLinear
    proj: CastedLinear

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.excludes_self = layer in config.xsa_layer_set
        self.qk_norm_eps = config.norm_eps_bf16_input
        if layer < config.layers:
            self.c_q = CastedLinear(config.width, config.width)
            self.c_k = CastedLinear(config.width, config.kv_width)
            self.c_v = CastedLinear(config.width, config.kv_width)
            self.proj = CastedLinear(config.width, config.width)
        self.q_gain = nn.Parameter(torch.zeros(config.heads))
        # Layer 0 has one too, unused and without gradient, because the published state files contain it.
        self.vr_lambda = nn.Parameter(torch.zeros(2)) if config.value_residual else None
        self.attn_gate = HeadGate(config.width, config.heads) if config.gated_attention else None

    def forward(
        self,
        u_BTD: Tensor,
        maps: Self,
        rotation: tuple[Tensor, Tensor],
        first_v_BTGK: Tensor | None,
        value_embedding_BTV: Tensor | None,
        precision: Precision,
        last: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attention output [B, S, D] and this layer's values [B, T, G, K] before the value residual.

        maps: the attention whose four linear maps are used: self or, with recurrent layers, another block's.
        first_v_BTGK: layer 0's values, None in layer 0 itself. value_embedding_BTV: None in layers without one.
        last: S, the number of query positions at the end of each row; None: all T. Keys and values are always all T.
        """
        B, T, _ = u_BTD.shape
        S = T if last is None else last
        u_BTD = u_BTD.to(precision.linear)
        v_BTV = maps.c_v(u_BTD)
        if value_embedding_BTV is not None:
            v_BTV = v_BTV + value_embedding_BTV
        own_v_BTGK = v_BTV.view(B, T, self.kv_heads, self.head_dim)
        v_BTGK = own_v_BTGK
        if self.vr_lambda is not None and first_v_BTGK is not None:
            first, own = self.vr_lambda.to(own_v_BTGK.dtype)
            v_BTGK = first * first_v_BTGK + own * own_v_BTGK

        k_BGTK = self._normed_and_rotated(maps.c_k(u_BTD), self.kv_heads, rotation, precision)
        u_BSD = u_BTD[:, T - S :]
        cos_TP, sin_TP = rotation
        q_BHSK = self._normed_and_rotated(maps.c_q(u_BSD), self.heads, (cos_TP[T - S :], sin_TP[T - S :]), precision)
        q_BHSK = q_BHSK * self.q_gain.to(q_BHSK.dtype)[:, None, None]
        y_BHSK = causal_attention(q_BHSK.to(precision.linear), k_BGTK.to(precision.linear), v_BTGK.transpose(1, 2))
        # #745 casts its attention output back to float32 (its two layers without exclusion pass that to the gate).
        y_BSHK = y_BHSK.transpose(1, 2).to(precision.residual)
        if self.excludes_self:
            y_BSHK = without_own_value(y_BSHK, v_BTGK[:, T - S :])
        if self.attn_gate is not None:
            # The gate reads the block's input and is applied after the exclusion.
            y_BSHK = y_BSHK * self.attn_gate(u_BSD)[..., None]
        return maps.proj(y_BSHK.reshape(B, S, -1).to(precision.linear)), own_v_BTGK

    def _normed_and_rotated(
        self, x_BTC: Tensor, heads: int, rotation: tuple[Tensor, Tensor], precision: Precision
    ) -> Tensor:
        B, T, _ = x_BTC.shape
        x_BHTK = x_BTC.view(B, T, heads, self.head_dim).transpose(1, 2).to(precision.residual)
        return rotate(F.rms_norm(x_BHTK, (self.head_dim,), eps=self.qk_norm_eps), *rotation)


def without_own_value(y_BTHK: Tensor, v_BTGK: Tensor) -> Tensor:
    """Exclusive self-attention: y minus its component along the same position's value, in float32.

    Query head h belongs to value head h // (H / G); v̂ = v / max(‖v‖₂, 1e-12).
    """
    B, T, H, K = y_BTHK.shape
    y_BTGQK = y_BTHK.float().reshape(B, T, v_BTGK.shape[2], -1, K)
    unit_v_BTG1K = F.normalize(v_BTGK.float(), dim=-1, eps=1e-12).unsqueeze(-2)
    along_BTGQ1 = (y_BTGQK * unit_v_BTG1K).sum(-1, keepdim=True)
    return (y_BTGQK - along_BTGQ1 * unit_v_BTG1K).reshape(B, T, H, K)
