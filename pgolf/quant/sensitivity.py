"""Sensitivity of the loss to weight errors, to second order: Kronecker factors per matrix (K-FAC).

The loss rises by about ½ Σ_r w_r ΔW_r H ΔW_rᵀ when a matrix W changes by ΔW. For a linear map, H is XᵀX of its inputs
(`pgolf.quant.hessian`) and w_r the mean square of the loss's gradient at its r-th output. For a table it is the other
way round: w_r counts how often row r is read, and H is GᵀG of the gradients where it is read. The token table is both,
since the output layer is tied to it; the two are added.
Gradients are for targets sampled from the network itself, so that GᵀG is the Fisher information, the Gauss-Newton part
of the loss's Hessian; for the output layer, whose softmax is known, it is computed in closed form.

Shapes: N positions (batch and time together), R rows of a matrix, C its columns, D residual width, V vocabulary.
Source: Martens and Grosse 2015 (K-FAC), arXiv 1503.05671, with one factor diagonal.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgolf.errors import QuantizationError
from pgolf.model.embedding import Table
from pgolf.model.gpt import GPT
from pgolf.model.linear import CastedLinear

# Positions per backward pass: at full size the graph takes about 10 GB.
POSITIONS_AT_A_TIME = 1 << 14
# Logits at a time: as many positions at a vocabulary of 1,024. About ten arrays of their size are held at once.
LOGITS_AT_A_TIME = 1 << 24
ROW_WEIGHTS = ".rows"
TOKEN_TABLE = "tok_emb.weight"


class Sensitivities:
    """Collects the factors not covered by XᵀX of linear maps, one batch of tokens at a time."""

    def __init__(self, network: GPT, seed: int = 0) -> None:
        self._network = network
        self._device = network.tok_emb.weight.device
        self._draws = torch.Generator(self._device).manual_seed(seed)
        self._positions = 0
        self._squares: dict[str, Tensor] = {}
        self._passes: dict[str, int] = {}
        self._counts: dict[str, Tensor] = {}
        self._products: dict[str, Tensor] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        for name, module in self._network.named_modules():
            if isinstance(module, CastedLinear):
                self._hooks.append(module.register_forward_hook(self._watch_map(f"{name}.weight")))
            elif isinstance(module, Table):
                self._hooks.append(module.register_forward_hook(self._watch_table(f"{name}.weight")))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def add(self, tokens_BT: Tensor) -> None:
        """Add a batch of tokens, int64 [B, T]."""
        rows = max(1, POSITIONS_AT_A_TIME // tokens_BT.shape[1])
        for part_BT in torch.split(tokens_BT, rows):
            h_ND = self._network.hidden(part_BT).flatten(0, 1)
            h_ND.backward(self._add_head(h_ND.detach()))  # type: ignore[no-untyped-call]
            self._positions += len(h_ND)
            self._network.zero_grad(set_to_none=True)

    def _add_head(self, h_ND: Tensor) -> Tensor:
        """Add the output layer's factors; returns the gradient of the summed loss of the sampled targets, [N, D]."""
        gradients: list[Tensor] = []
        for part_ND in torch.split(h_ND, max(1, LOGITS_AT_A_TIME // self._network.config.vocab_size)):
            part_ND.requires_grad_()
            logits_NV = self._network.logits(part_ND, "none")
            with torch.no_grad():
                p_NV = logits_NV.softmax(dim=1)
                targets_N = torch.multinomial(p_NV, 1, generator=self._draws)[:, 0]
                # For z before the cap: d logit / dz = 1 - (logit / cap)²; a softmax's Fisher diagonal is p (1 - p).
                slope_NV = 1 - (logits_NV / self._network.config.logit_softcap).square()
                fisher_V = (p_NV * (1 - p_NV) * slope_NV.square()).double().sum(dim=0)
                h = part_ND.detach().float()
                _add(self._squares, "head", fisher_V)
                _add(self._products, "head", (h.T @ h).double())
            gradients += torch.autograd.grad(F.cross_entropy(logits_NV, targets_N, reduction="sum"), part_ND)
        return torch.cat(gradients)

    def factors(self, batches: int) -> Mapping[str, Tensor]:
        """Factors, float32 on the CPU: `NAME` is H [C, C] of each table, `NAME.rows` is w [R] of each matrix and table.

        Scaled so that, with XᵀX of linear maps averaged over `batches`, ½ Σ_r w_r ΔW_r H ΔW_rᵀ is in nats per token.
        Raises QuantizationError if gradients are not finite.
        """
        per_token = batches / self._positions
        found: dict[str, Tensor] = {}
        for name, passes in self._passes.items():
            # A recurrent map runs several times: XᵀX is summed over its passes, so squares are averaged.
            found[name + ROW_WEIGHTS] = self._squares[name] / passes * per_token
        for name, counts_R in self._counts.items():
            H_CC, weight_R = self._products[name] / self._positions, counts_R.double() / self._positions
            if name == TOKEN_TABLE:
                H_CC, weight_R = self._tied(H_CC, weight_R)
            found[name], found[name + ROW_WEIGHTS] = H_CC, weight_R
        factors = {name: factor.float().cpu() for name, factor in found.items()}
        for name, factor in factors.items():
            if not bool(torch.isfinite(factor).all()):
                raise QuantizationError(
                    f"{name.removesuffix(ROW_WEIGHTS)}: the loss's gradient is NaN or infinite on the calibration "
                    "tokens; the checkpoint cannot be compressed, train it again"
                )
        return factors

    def _tied(self, read_CC: Tensor, read_R: Tensor) -> tuple[Tensor, Tensor]:
        """Merge both uses of the token table into one pair of factors: H their mean over rows, w_r each row's trace."""
        head_CC, head_R = self._products["head"] / self._positions, self._squares["head"] / self._positions
        H_CC = read_R.sum() * read_CC + head_R.sum() * head_CC
        weight_R = (read_R * read_CC.trace() + head_R * head_CC.trace()) / H_CC.trace().clamp_min(1e-300)
        return H_CC, weight_R

    def _watch_map(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def on_gradient(gradient: Tensor) -> None:
            G_NR = gradient.detach().float().reshape(-1, gradient.shape[-1])
            _add(self._squares, name, G_NR.square().sum(dim=0).double())
            self._passes[name] = self._passes.get(name, 0) + len(G_NR)

        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output.register_hook(on_gradient)  # type: ignore[no-untyped-call]

        return hook

    def _watch_table(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(module, Table)
            _add(self._counts, name, torch.bincount(inputs[0].reshape(-1), minlength=len(module.weight)))

            def on_gradient(gradient: Tensor) -> None:
                G_NC = gradient.detach().float().reshape(-1, gradient.shape[-1])
                _add(self._products, name, (G_NC.T @ G_NC).double())

            output.register_hook(on_gradient)  # type: ignore[no-untyped-call]

        return hook


def _add(sums: dict[str, Tensor], name: str, part: Tensor) -> None:
    sums[name] = sums[name] + part if name in sums else part
