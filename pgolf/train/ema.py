"""The exponential average of the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor


class ExponentialAverage:
    """e ← decay · e + (1 - decay) · θ at every update, in float32, started from the weights as they are now.

    state: the weights by state name, which are read again, where they lie, at every update.
    """

    def __init__(self, state: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach() for name, tensor in state.items()}
        self.average = {name: tensor.to(torch.float32, copy=True) for name, tensor in self.weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after one step."""
        averages = list(self.average.values())
        torch._foreach_mul_(averages, self.decay)
        # float() leaves float32 weights where they are: two launches in all, and one for each bfloat16 table.
        torch._foreach_add_(averages, [tensor.float() for tensor in self.weights.values()], alpha=1 - self.decay)
