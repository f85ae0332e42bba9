"""Stochastic weight averaging (SWA): the mean of snapshots taken while learning rates are low.

Source: Izmailov et al. 2018; PR #745 takes snapshots of the weights, PR #715 of their exponential average. Neither
exports the mean; here it can be exported.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


class SnapshotMean:
    """The mean of snapshots of `state`, kept as float32 sums; the live tensors are read at every snapshot."""

    def __init__(self, state: Mapping[str, Tensor], *, below_scale: float, every_steps: int) -> None:
        self.tensors = {name: tensor.detach() for name, tensor in state.items()}
        self.sums = {name: torch.zeros_like(tensor, dtype=torch.float32) for name, tensor in self.tensors.items()}
        self.below_scale = below_scale
        self.every_steps = every_steps
        self.count = 0

    @torch.no_grad()
    def update(self, *, steps_done: int, rate_scale: float) -> None:
        """Take a snapshot if one is due after the step just done at `rate_scale`."""
        if rate_scale >= self.below_scale or steps_done % self.every_steps:
            return
        torch._foreach_add_(list(self.sums.values()), [tensor.float() for tensor in self.tensors.values()])
        self.count += 1

    def mean(self) -> dict[str, Tensor]:
        """The mean of the snapshots, float32; there must be at least one."""
        return {name: total / self.count for name, total in self.sums.items()}
