"""Muon on banks: matrices of equal shape stacked and sharded over the ranks; gradients and momenta in bfloat16.

Shapes: N matrices of a bank, padded with zero matrices to P, a multiple of the W ranks; R rows, C columns of each.
Source: the parallel Muon of PR #745.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pgolf.ranks.group import Ranks
from pgolf.train.muon import nesterov_step, shape_factor, stacked_gradients, with_unit_rows
from pgolf.train.newton_schulz import orthogonalize

# The roles that share a bank; each contributes its matrices of all layers in order.
_BANKS = (("attn.c_q", "attn.proj"), ("attn.c_k", "attn.c_v"), ("mlp.fc",), ("mlp.proj",))


def banks_of(matrices: Mapping[str, nn.Parameter]) -> list[list[nn.Parameter]]:
    """Banks: queries then outputs, keys then values, MLP up, MLP down; any other matrix gets its own bank."""
    left = dict(matrices)
    banks = []
    for roles in _BANKS:
        names = [name for role in roles for name in matrices if name.endswith(f".{role}.weight")]
        banks.append([left.pop(name) for name in names if name.startswith("blocks.")])
    return [*banks, *([matrix] for matrix in left.values())]


class BankMuon:
    """Muon in which rank r updates the r-th of W equal parts of every padded bank, and holds its bfloat16 momenta.

    averages: gradients are per rank, and this optimizer averages them, in bfloat16, while sharding the banks; otherwise
    they are averaged already.
    """

    def __init__(
        self,
        banks: Sequence[Sequence[nn.Parameter]],
        *,
        newton_schulz_steps: int,
        weight_decay: float,
        ranks: Ranks,
        averages: bool,
        row_norm: bool = False,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """row_norm: orthogonalize the step with each row divided by its norm. dtype: of gradients and momenta."""
        self.banks = [list(bank) for bank in banks]
        self.newton_schulz_steps = newton_schulz_steps
        self.weight_decay = weight_decay
        self.ranks = ranks
        self.averages = averages
        self.row_norm = row_norm
        self.momenta = [
            torch.zeros(-(-len(bank) // ranks.world_size), *bank[0].shape, dtype=dtype, device=bank[0].device)
            for bank in self.banks
        ]

    def own_momenta(self) -> list[Tensor]:
        """This rank's momenta, one stack per bank."""
        return self.momenta

    @torch.no_grad()
    def step(self, *, lr: float, momentum: float) -> None:
        """m ← μm + g; step along O = orthogonalize(g + μm) by lr · √max(1, R/C), after decaying by 1 - lr · decay.

        Every matrix must have its gradient, already clipped.
        """
        for bank, momentum_NRC in zip(self.banks, self.momenta, strict=True):
            padded_PRC = self._padded(stacked_gradients(bank).to(momentum_NRC.dtype))
            part_NRC = self.ranks.mean_part(padded_PRC) if self.averages else self.ranks.part(padded_PRC)
            nesterov_NRC = nesterov_step(momentum_NRC, part_NRC, momentum)
            if self.row_norm:
                nesterov_NRC = with_unit_rows(nesterov_NRC)
            own_NRC = orthogonalize(nesterov_NRC, self.newton_schulz_steps, fused=False)
            updates_PRC = self.ranks.gather(own_NRC).float()
            weights = list[Tensor](bank)
            torch._foreach_mul_(weights, 1 - lr * self.weight_decay)
            torch._foreach_add_(
                weights, list(updates_PRC[: len(bank)].unbind()), alpha=-lr * shape_factor(bank[0].shape)
            )

    def _padded(self, bank_NRC: Tensor) -> Tensor:
        missing = -len(bank_NRC) % self.ranks.world_size
        return torch.cat((bank_NRC, bank_NRC.new_zeros(missing, *bank_NRC.shape[1:]))) if missing else bank_NRC
