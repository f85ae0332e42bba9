"""The exponential average of the weights, which is what a training run exports."""

from collections.abc import Mapping

import torch
from torch import Tensor


class ExponentialAverage:
    """e ← decay · e + (1 - decay) · θ after every step, in float32, started from the initial weights."""

    def __init__(self, state: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.dtypes = {name: tensor.dtype for name, tensor in state.items()}
        self.average = {name: tensor.detach().float().clone() for name, tensor in state.items()}

    @torch.no_grad()
    def update(self, state: Mapping[str, Tensor]) -> None:
        """Take in the weights after one step."""
        for name, average in self.average.items():
            average.mul_(self.decay).add_(state[name].detach().float(), alpha=1 - self.decay)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights in the formats of the originals."""
        return {name: average.to(self.dtypes[name]) for name, average in self.average.items()}
