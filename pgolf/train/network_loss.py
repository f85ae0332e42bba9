"""The loss function of a micro-step, compiled on CUDA."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from pgolf.model.gpt import GPT
from pgolf.train.config import TrainConfig

NetworkLoss = Callable[[Tensor, Tensor], Tensor]  # tokens and targets, int64 [B, T] each, to mean nats per target


def network_loss(model: GPT, config: TrainConfig, device: torch.device) -> NetworkLoss:
    """`model.loss`; on CUDA as one compiled graph for one shape, unless `config.compile` is off."""
    if device.type == "cuda" and config.compile:
        return cast(NetworkLoss, torch.compile(model.loss, dynamic=False, fullgraph=True))
    return model.loss
