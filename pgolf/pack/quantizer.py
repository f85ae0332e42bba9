"""Quantizes a checkpoint's tensors to the grids of a plan, in the form a packed model stores.

Shapes: R rows of a matrix, C its columns.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TypeVar

import torch
from torch import Tensor

from pgolf.errors import QuantizationError
from pgolf.pack.config import CompressConfig
from pgolf.pack.rounding_plan import Plan, RowScales
from pgolf.pack.weights import Stored, to_float16
from pgolf.quant.gptq import Factor, GptqOptions, SingularHessianError, factored, quantize_by_hessian, quantize_gptq
from pgolf.quant.rounding import (
    Quantized,
    clip_scales,
    positive_levels,
    require_finite,
    round_embedding,
    round_to_nearest,
    round_to_scale,
    search_percentile,
)
from pgolf.quant.scheme import layer_of, treatment
from pgolf.quant.sensitivity import ROW_WEIGHTS

T = TypeVar("T")

# Roundings of one tensor on grids of scales that are kept: those of two plans, and one between them.
_GRIDS_KEPT = 3


class Quantizer:
    """Quantizes a network; to a number of bits once per tensor and width, so that one more layer costs only itself.

    hessians: by state name, and row weights under NAME.rows, as the calibrate stage writes them.
    matrices, tables: names of what has codes, in state order. singular: matrices whose Hessian had no Cholesky factor
    and that were rounded by percentile search (or plainly, to freely chosen scales) instead, which happens only where
    the config says so.
    """

    def __init__(
        self, config: CompressConfig, state: Mapping[str, Tensor], hessians: Mapping[str, Tensor], workers: int
    ) -> None:
        self.config = config
        self.state = state
        self.workers = workers
        self.singular: set[str] = set()
        self.dtypes = {name: tensor.dtype for name, tensor in state.items()}
        self._hessians = hessians
        self._treatments = {
            name: treatment(
                name,
                tuple(tensor.shape),
                floating=tensor.is_floating_point(),
                fp16_max_elements=config.fp16_max_elements,
            )
            for name, tensor in state.items()
        }
        self.matrices = [name for name, kind in self._treatments.items() if kind == "matrix"]
        self.tables = [name for name, kind in self._treatments.items() if kind == "embedding"]
        self.quantized = [*self.matrices, *self.tables]
        self._rounded: dict[tuple[str, int], Quantized] = {}
        self._on_scales: dict[str, dict[RowScales, Quantized]] = {}
        self._factors: dict[str, Factor | None] = {}
        self._options = GptqOptions(
            # What calibration measured is damped twice in the published method, once in the other.
            stream_damping=config.stream_damping if config.method == "gptq" else 0.0,
            damping=config.damping,
            percentiles=config.percentiles,
            act_order=config.act_order,
        )

    @property
    def layers(self) -> frozenset[int]:
        """Blocks with at least one matrix that has bits to lose."""
        return frozenset(layer for name in self.matrices if (layer := layer_of(name)) is not None)

    def weights(self, name: str) -> Tensor:
        """A matrix or table [R, C] in float32. Raises QuantizationError for values that are not finite."""
        require_finite(name, self.state[name])
        return self.state[name].float()

    def stored(self, plan: Plan) -> dict[str, Stored]:
        """The whole network in state order, on the grids of `plan`.

        Raises QuantizationError naming a tensor that cannot be quantized.
        """
        assert plan.grids.keys() == set(self.quantized), (
            f"{plan.rung!r} has grids for {len(plan.grids)} tensors, every plan for the same {len(self.quantized)}: "
            f"{', '.join(sorted(plan.grids.keys() ^ set(self.quantized)))} too many or missing"
        )
        rest = self._rest
        rounded = self.for_each(partial(self._on_plan, plan), list(plan.grids))
        return {name: rounded[name] if name in rounded else rest[name] for name in self.state}

    def for_each(self, compute: Callable[[str], T], names: Sequence[str]) -> dict[str, T]:
        """`compute` of every name, side by side."""
        # One thread per torch operation here too, so that results do not depend on the number of workers.
        with ThreadPoolExecutor(self.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return dict(zip(names, pool.map(compute, names), strict=True))

    def step_costs(self, name: str) -> Tensor:
        """Loss in nats per token, float64 [R], that a row costs per weight and squared step of its grid.

        A rounding error is spread evenly over a step, so its mean square is step² / 12. Raises QuantizationError
        without row weights, or where nothing of the tensor reaches the loss.
        """
        H_CC, weight_R = self._hessian(name), self._hessian(name + ROW_WEIGHTS).double()
        require_finite(f"{name} (row weights)", weight_R)
        require_finite(f"{name} (Hessian)", H_CC)
        factor = self._factor(name) if self._follows_hessian(name) else None
        curvature = factor.curvature if factor else float(H_CC.diagonal().double().sum())
        return weight_R * (curvature / len(H_CC) / 24)

    def predicted_loss(self, stored: Mapping[str, Stored]) -> float | None:
        """Nats per token by which the loss rises, to second order; None without row weights for every tensor."""
        if any(name + ROW_WEIGHTS not in self._hessians or name not in self._hessians for name in self.quantized):
            return None

        def share(name: str) -> float:
            value = stored[name]
            assert isinstance(value, Quantized)
            gap_RC = self.weights(name) - value.dequantize(torch.float32)
            error_R = ((gap_RC @ self._hessians[name].float()) * gap_RC).double().sum(dim=1)
            return float(error_R @ self._hessians[name + ROW_WEIGHTS].double()) / 2

        return sum(self.for_each(share, self.quantized).values())

    @cached_property
    def _rest(self) -> Mapping[str, Stored]:
        """The tensors that no plan quantizes, in float16 or as they are."""
        return {
            name: self.state[name] if kind == "exact" else to_float16(name, self.state[name])
            for name, kind in self._treatments.items()
            if kind in ("exact", "fp16")
        }

    def _on_plan(self, plan: Plan, name: str) -> Quantized:
        grid = plan.grids[name]
        if isinstance(grid, RowScales):
            return self._to_known_scales(name, grid)
        if (name, grid) not in self._rounded:
            self._rounded[name, grid] = self._to_bits(name, grid)
        return self._rounded[name, grid]

    def _to_bits(self, name: str, bits: int) -> Quantized:
        config, W_RC = self.config, self.state[name]
        table = self._treatments[name] == "embedding"
        factor = self._factor(name) if self._follows_hessian(name) else None
        if factor is None:
            if table:
                return round_embedding(name, W_RC, bits)
            if config.method == "rtn":
                return round_to_nearest(name, W_RC, bits)
            return search_percentile(name, W_RC, bits, config.percentiles)
        if config.method == "gptq":
            return quantize_gptq(name, W_RC, factor, bits, config.percentiles)
        scales_PR = clip_scales(name, W_RC, bits, config.clips)
        return quantize_by_hessian(W_RC, self._hessian(name), factor, scales_PR, positive_levels(bits))

    def _to_known_scales(self, name: str, grid: RowScales) -> Quantized:
        """`_to_scales`, unless it was one of the grids asked for last: plans may share the grids of most tensors."""
        last = self._on_scales.setdefault(name, {})
        last[grid] = rounded = last.pop(grid, None) or self._to_scales(name, grid)
        if len(last) > _GRIDS_KEPT:
            del last[next(iter(last))]
        return rounded

    def _to_scales(self, name: str, grid: RowScales) -> Quantized:
        factor = self._factor(name) if self._follows_hessian(name) else None
        if factor is None:
            return round_to_scale(name, self.state[name], grid.scale, grid.levels)
        codes_PRC = factor.round_columns(self.weights(name), grid.scale[None], grid.levels)
        return Quantized(codes_PRC[0].to(torch.int8), grid.scale)

    def _follows_hessian(self, name: str) -> bool:
        """Whether a tensor is rounded by GPTQ: matrices, and by gptq_hessian tables as well."""
        if self.config.method == "gptq_hessian":
            return self._treatments[name] == "matrix" or name in self._hessians
        return self.config.method == "gptq" and self._treatments[name] == "matrix"

    def _hessian(self, name: str) -> Tensor:
        if name not in self._hessians:
            raise QuantizationError(
                f"{name}: method {self.config.method} under policy {self.config.policy} needs a Hessian for it, "
                f"calibration made {len(self._hessians)} others; calibrate the same checkpoint, "
                "or use method rtn or percentile under policy published"
            )
        return self._hessians[name]

    def _factor(self, name: str) -> Factor | None:
        """The Hessian ready for rounding, made once; None where it is singular and the config accepts that."""
        if name not in self._factors:
            try:
                self._factors[name] = factored(name, self.state[name], self._hessian(name), self._options)
            except SingularHessianError as error:
                if self.config.singular_hessian == "error":
                    raise QuantizationError(
                        f"{error}; raise compress.damping (now {self.config.damping}), calibrate on more tokens, "
                        "or add --set compress.singular_hessian=percentile"
                    ) from error
                self.singular.add(name)
                self._factors[name] = None
        return self._factors[name]
