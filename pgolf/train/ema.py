"""Exponential moving average (EMA) of the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor


class ExponentialAverage:
    """e ← decay · e + (1 - decay) · θ at every update, in float32, starting from the current weights.

    state: the weights by state name; these live tensors are read at every update.
    """

    def __init__(self, state: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach() for name, tensor in state.items()}
        self.average = {name: tensor.to(torch.float32, copy=True) for name, tensor in self.weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after a step."""
        averages = list(self.average.values())
        torch._foreach_mul_(averages, self.decay)
        # float() does not copy float32 weights: two kernel launches in all, plus one per bfloat16 table.
        torch._foreach_add_(averages, [tensor.float() for tensor in self.weights.values()], alpha=1 - self.decay)
