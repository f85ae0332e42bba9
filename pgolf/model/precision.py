"""Which number formats a forward pass uses: decided by the device that holds the weights, never by the weights."""

from dataclasses import dataclass

import torch

from pgolf.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Precision:
    """linear: operands of matrix products and attention. residual: the stream, norm outputs, gains and skips."""

    linear: torch.dtype
    residual: torch.dtype


def precision_for(config: ModelConfig, device: torch.device) -> Precision:
    """On CUDA what bf16 autocast did in #715 (torch 2.9) or #792 (torch 2.4), by `config.residual_dtype`; else float32.

    The casts are written out where they happen instead of left to autocast: its rules differ between torch versions.
    """
    if device.type != "cuda":
        return Precision(torch.float32, torch.float32)
    residual = torch.bfloat16 if config.residual_dtype == "bfloat16" else torch.float32
    return Precision(torch.bfloat16, residual)


def stream_norm_eps(config: ModelConfig) -> float:
    """Epsilon of the block and final norms. It belongs to the place in the network, so CPU and CUDA use the same."""
    return config.norm_eps_bf16_input if config.residual_dtype == "bfloat16" else config.norm_eps
