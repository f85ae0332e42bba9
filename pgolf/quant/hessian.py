"""Accumulate XᵀX over the inputs of a network's linear maps: the Hessians for GPTQ.

Shapes: N positions (batch and time together), C input channels of one linear map.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, Self

import torch
from torch import Tensor, nn

from pgolf.errors import QuantizationError
from pgolf.model.linear import CastedLinear


class InputHessians:
    """Collects Σ XᵀX per linear map from the forward passes inside its `with` block, and of what is added besides.

    product float32: X [N, C] is cast to float32, the product is float32, and products are summed in float64. bfloat16:
    X is rounded to bfloat16, the product is computed in float32 and rounded to bfloat16, and products are summed in
    float32, as in #792, whose autocast applied inside its hooks. All on the network's device.
    Maps with the same input tensor (queries, keys and values) share one product.
    """

    def __init__(self, network: nn.Module, product: Literal["float32", "bfloat16"] = "float32") -> None:
        self._rounded = product == "bfloat16"
        self._maps = {
            f"{name}.weight": module for name, module in network.named_modules() if isinstance(module, CastedLinear)
        }
        self._sums: dict[str, Tensor] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._last: tuple[Tensor, Tensor] | None = None

    def __enter__(self) -> Self:
        for name, module in self._maps.items():
            self._hooks.append(module.register_forward_pre_hook(self._watch(name)))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._last = None

    def mean(self, batches: int) -> Mapping[str, Tensor]:
        """State name -> Σ XᵀX / batches, float32 [C, C] on the CPU, symmetric.

        Raises QuantizationError if activations overflowed, naming the first map affected.
        """
        means = {}
        for name in dict.fromkeys((*self._maps, *self._sums)):
            if name not in self._sums:
                raise QuantizationError(f"{name}: no forward pass used this linear map, so it has no Hessian")
            # A matrix product may round its two triangles differently: symmetrize.
            sum_CC = self._sums[name]
            mean_CC = ((sum_CC + sum_CC.T) / (2 * batches)).float().cpu()
            if not bool(torch.isfinite(mean_CC).all()):
                raise QuantizationError(
                    f"{name}: its inputs are NaN or infinite on the calibration tokens; the checkpoint cannot be "
                    "compressed, train it again"
                )
            means[name] = mean_CC
        return means

    def add(self, name: str, x: Tensor) -> None:
        """Add inputs [..., C] to the sum of that name."""
        product_CC = self._product(x)
        if name in self._sums:
            self._sums[name] += product_CC
        else:
            self._sums[name] = product_CC.clone() if self._rounded else product_CC.double()

    def _watch(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.add(name, inputs[0])

        return hook

    def _product(self, x: Tensor) -> Tensor:
        if self._last is None or self._last[0] is not x:
            X_NC = self._as_used(x.detach().float().reshape(-1, x.shape[-1]))
            self._last = (x, self._as_used(X_NC.T @ X_NC))
        return self._last[1]

    def _as_used(self, values: Tensor) -> Tensor:
        return values.bfloat16().float() if self._rounded else values
