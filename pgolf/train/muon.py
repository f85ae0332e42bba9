"""Muon: momentum updates orthogonalized by Newton–Schulz; whole matrices are distributed over the ranks.

Shapes: N matrices of one shape, R rows, C columns of each.
Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; arithmetic and rank split of PR #715, row
normalization of #1493.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgolf.ranks.group import Ranks
from pgolf.train.newton_schulz import iteration_dtype, orthogonalize


class MatrixMuon:
    """Muon in which rank i mod world_size computes the update of matrix i, with float32 gradients and momenta.

    The ranks' updates are summed in the iteration's dtype (each matrix comes from one rank, so this only gathers), and
    every rank applies them to its own float32 weights. Matrices of one shape are iterated as a batch: one by one, a GPU
    would spend its time launching kernels for 67 of them.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        *,
        newton_schulz_steps: int,
        weight_decay: float,
        ranks: Ranks,
        row_norm: bool = False,
    ) -> None:
        """row_norm: orthogonalize the step with each row divided by its norm."""
        self.matrices = list(matrices)
        self.newton_schulz_steps = newton_schulz_steps
        self.weight_decay = weight_decay
        self.ranks = ranks
        self.row_norm = row_norm
        self.own_by_shape: dict[torch.Size, list[int]] = {}
        for index in range(ranks.rank, len(self.matrices), ranks.world_size):
            self.own_by_shape.setdefault(self.matrices[index].shape, []).append(index)
        self.momenta = {
            shape: torch.zeros(len(own), *shape, device=self.matrices[own[0]].device)
            for shape, own in self.own_by_shape.items()
        }

    def own_momenta(self) -> list[Tensor]:
        """This rank's momenta, in an order determined by its matrices."""
        return list(self.momenta.values())

    @torch.no_grad()
    def step(self, *, lr: float, momentum: float) -> None:
        """m ← μm + g; step along O = orthogonalize(g + μm) by lr · √max(1, R/C), after decaying by 1 - lr · decay.

        Every matrix must have its gradient, already averaged over the ranks and clipped.
        """
        device = self.matrices[0].device
        sizes = [matrix.numel() for matrix in self.matrices]
        flat = torch.zeros(sum(sizes), dtype=iteration_dtype(device), device=device)
        for shape, own in self.own_by_shape.items():
            gradients_NRC = stacked_gradients([self.matrices[index] for index in own])
            nesterov_NRC = nesterov_step(self.momenta[shape], gradients_NRC, momentum)
            if self.row_norm:
                nesterov_NRC = with_unit_rows(nesterov_NRC)
            updates_NRC = orthogonalize(nesterov_NRC, self.newton_schulz_steps) * shape_factor(shape)
            parts = torch.split(flat, sizes)
            torch._foreach_copy_([parts[index].view(shape) for index in own], list(updates_NRC.unbind()))
        self.ranks.sum(flat)
        updates = [
            part.view_as(matrix) for part, matrix in zip(torch.split(flat.float(), sizes), self.matrices, strict=True)
        ]
        torch._foreach_mul_(list[Tensor](self.matrices), 1 - lr * self.weight_decay)
        torch._foreach_add_(list[Tensor](self.matrices), updates, alpha=-lr)


def stacked_gradients(matrices: Sequence[nn.Parameter]) -> Tensor:
    """Gradients of N matrices of one shape, [N, R, C]."""
    gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
    assert len(gradients) == len(matrices), "every matrix must have a gradient"
    return torch.stack(gradients)


def nesterov_step(momentum_NRC: Tensor, gradients_NRC: Tensor, momentum: float) -> Tensor:
    """m ← μm + g in place; returns g + μm. All in the dtype of `momentum_NRC`."""
    momentum_NRC.mul_(momentum).add_(gradients_NRC)
    return gradients_NRC.add(momentum_NRC, alpha=momentum)


def with_unit_rows(steps_NRC: Tensor) -> Tensor:
    """Each row divided by its 2-norm, in the dtype of `steps_NRC`; a row of zeros stays one."""
    return F.normalize(steps_NRC, dim=-1, eps=1e-7)


def shape_factor(shape: Sequence[int]) -> float:
    """√max(1, R/C): tall matrices take longer steps."""
    rows, columns = shape
    factor: float = max(1.0, rows / columns) ** 0.5
    return factor
