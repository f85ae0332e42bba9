"""Dtypes of a forward pass, determined by the config and the device, not by the dtype of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from pgolf.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Precision:
    """linear: matrix products and attention. residual: the residual stream, norm outputs, gains and skips."""

    linear: torch.dtype
    residual: torch.dtype


def precision_for(config: ModelConfig, device: torch.device) -> Precision:
    """On CUDA as bf16 autocast in #715 (torch 2.9) or #792 (torch 2.4), by `config.residual_dtype`; else float32.

    Casts are explicit instead of left to autocast, whose rules differ between torch versions.
    """
    if device.type != "cuda":
        return Precision(torch.float32, torch.float32)
    residual = torch.bfloat16 if config.residual_dtype == "bfloat16" else torch.float32
    return Precision(torch.bfloat16, residual)


def stream_norm_eps(config: ModelConfig) -> float:
    """Epsilon of the block and final norms, equal on CPU and CUDA."""
    return config.norm_eps_bf16_input if config.residual_dtype == "bfloat16" else config.norm_eps


@contextmanager
def without_tf32() -> Iterator[None]:
    """Products of float32 numbers on CUDA with all their bits inside the block; TF32 keeps 10 of 23."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
