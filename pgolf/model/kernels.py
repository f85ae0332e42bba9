"""The attention kernels that a network runs on CUDA: one choice for training, calibration, scoring and learning.

torch would choose by shape and version, and so could train with one kernel and score with another.
Shapes: B rows, H query heads, G key/value heads, S queries, T ≥ S keys, K channels of a head.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_FLASH_CHANNELS = 8  # the kernel takes multiples of this


def choose_kernels(device: torch.device) -> None:
    """Flash attention alone, as in the originals; on a CPU nothing is changed.

    Where flash attention cannot run, torch then raises instead of taking a slower kernel unsaid.
    """
    if device.type != "cuda":
        return
    torch.backends.cuda.enable_flash_sdp(True)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_math_sdp(False)


def causal_attention(q_BHSK: Tensor, k_BGTK: Tensor, v_BGTK: Tensor) -> Tensor:
    """Attention output [B, H, S, K] of the last S of T positions, each over the keys up to its own."""
    S, T = q_BHSK.shape[2], k_BGTK.shape[2]
    if S == T:
        return F.scaled_dot_product_attention(q_BHSK, k_BGTK, v_BGTK, is_causal=True, enable_gqa=True)
    if q_BHSK.is_cuda:
        return _last_queries_by_flash(q_BHSK, k_BGTK, v_BGTK)
    mask_ST = torch.ones(S, T, dtype=torch.bool, device=q_BHSK.device).tril(diagonal=T - S)
    return F.scaled_dot_product_attention(q_BHSK, k_BGTK, v_BGTK, attn_mask=mask_ST, enable_gqa=True)


def _last_queries_by_flash(q_BHSK: Tensor, k_BGTK: Tensor, v_BGTK: Tensor) -> Tensor:
    """The kernel by its name: its causal mask is aligned to the last key, which the public function cannot ask for.

    With an explicit mask CUDA has no fused kernel for grouped queries.
    """
    K = q_BHSK.shape[-1]
    missing = -K % _FLASH_CHANNELS
    q, k, v = (F.pad(each, (0, missing)) if missing else each for each in (q_BHSK, k_BGTK, v_BGTK))
    flash = torch.ops.aten._scaled_dot_product_flash_attention
    y: Tensor = flash(q, k, v, is_causal=True, scale=K**-0.5)[0]
    return y.narrow(-1, 0, K)
