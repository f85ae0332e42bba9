"""Muon: momentum, then the nearest orthogonal matrix to the step, one matrix at a time, shared out over the ranks.

Shapes: R rows, C columns of a weight matrix.
Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; arithmetic and rank split of PR #715.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pgolf.train.ranks import Ranks

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # per singular value s: a s + b s³ + c s⁵; drives (0, 1] towards about 1


def iteration_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA as in the originals; float32 on CPU, where few processors multiply bfloat16 natively."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def orthogonalize(step_RC: Tensor, iterations: int) -> Tensor:
    """UVᵀ of step = UΣVᵀ, roughly: every singular value goes through the same polynomial `iterations` times.

    Returns [R, C] in `iteration_dtype`; zero stays zero.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = step_RC.to(iteration_dtype(step_RC.device))
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + (c * gram) @ gram) @ x
    return x.T if tall else x


class Muon:
    """The optimizer of the weight matrices. Matrix i is worked on by rank i mod world_size alone.

    The ranks' updates are summed in the iteration's format (each matrix comes from one rank, so this only gathers),
    and every rank applies them to its own float32 weights.
    """

    def __init__(
        self, matrices: Sequence[nn.Parameter], *, newton_schulz_steps: int, weight_decay: float, ranks: Ranks
    ) -> None:
        self.matrices = list(matrices)
        self.newton_schulz_steps = newton_schulz_steps
        self.weight_decay = weight_decay
        self.ranks = ranks
        self.momenta = [
            torch.zeros_like(matrix) if self._is_mine(index) else None for index, matrix in enumerate(self.matrices)
        ]

    def _is_mine(self, index: int) -> bool:
        return index % self.ranks.world_size == self.ranks.rank

    @torch.no_grad()
    def step(self, *, lr: float, momentum: float) -> None:
        """m ← μm + g; step along O = orthogonalize(g + μm) by lr · √max(1, R/C), after decaying by 1 - lr · decay.

        Every matrix must have its gradient, already averaged over the ranks and clipped.
        """
        device = self.matrices[0].device
        sizes = [matrix.numel() for matrix in self.matrices]
        all_updates = torch.zeros(sum(sizes), dtype=iteration_dtype(device), device=device)
        updates = torch.split(all_updates, sizes)
        for index, (matrix, velocity) in enumerate(zip(self.matrices, self.momenta, strict=True)):
            if velocity is None:
                continue
            assert matrix.grad is not None, "a matrix without a gradient is not part of the network"
            velocity.mul_(momentum).add_(matrix.grad)
            nesterov = matrix.grad.add(velocity, alpha=momentum)
            shape_factor = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            direction = orthogonalize(nesterov, self.newton_schulz_steps) * shape_factor
            updates[index].copy_(direction.flatten())
        self.ranks.sum(all_updates)
        for matrix, update in zip(self.matrices, updates, strict=True):
            matrix.mul_(1 - lr * self.weight_decay).add_(update.view_as(matrix).to(matrix.dtype), alpha=-lr)
