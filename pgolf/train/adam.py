"""AdamW on torch's fused kernel, with moments in each parameter's dtype.

Calls the kernel directly: torch.optim.AdamW would do the same, but its constructor imports torch's compiler, which
takes longer than the first steps of a small run.
Source: Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101; values and formats of PR #715.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(slots=True)
class Moments:
    """State of one parameter. steps: a float32 scalar, as the kernel requires."""

    first: Tensor
    second: Tensor
    steps: Tensor


@dataclass(slots=True, kw_only=True)
class AdamW:
    """m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g²; θ ← θ(1 - lr·decay) - lr · m̂ / (√v̂ + eps), m̂ and v̂ bias-corrected.

    Arithmetic is float32 inside the kernel; a bfloat16 parameter and its moments are rounded once per step.
    """

    parameters: list[nn.Parameter]
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    moments: dict[nn.Parameter, Moments] = field(init=False)

    def __post_init__(self) -> None:
        self.moments = {
            parameter: Moments(
                torch.zeros_like(parameter, requires_grad=False),
                torch.zeros_like(parameter, requires_grad=False),
                torch.zeros((), device=parameter.device),
            )
            for parameter in self.parameters
        }

    @torch.no_grad()
    def step(self, *, lr: float) -> None:
        """Update every parameter that has a gradient; the others neither move nor decay."""
        moved = [parameter for parameter in self.parameters if parameter.grad is not None]
        for dtype in sorted({parameter.dtype for parameter in moved}, key=str):
            self._step_one_dtype([parameter for parameter in moved if parameter.dtype == dtype], lr)

    def _step_one_dtype(self, parameters: list[nn.Parameter], lr: float) -> None:
        """The kernel requires all tensors to have the same dtype."""
        moments = [self.moments[parameter] for parameter in parameters]
        torch._foreach_add_([each.steps for each in moments], 1)
        torch._fused_adamw_(
            list[Tensor](parameters),
            list(_gradients(parameters)),
            [each.first for each in moments],
            [each.second for each in moments],
            [],
            [each.steps for each in moments],
            lr=lr,
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=self.weight_decay,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )


def _gradients(parameters: Iterable[nn.Parameter]) -> Iterable[Tensor]:
    for parameter in parameters:
        assert parameter.grad is not None
        yield parameter.grad
