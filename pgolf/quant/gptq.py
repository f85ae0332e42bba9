"""GPTQ: round a matrix column by column, compensating the rounding error in the columns not yet rounded.

Shapes: R rows (outputs), C columns (inputs), W_RC the weight, H_CC = XᵀX of its inputs, P percentiles tried at once.
Sources: Frantar et al. 2023, arXiv 2210.17323, algorithm 1; Parameter Golf PR #792 for damping, order and percentiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pgolf.errors import QuantizationError
from pgolf.quant.rounding import Quantized, percentile_scales, positive_levels, require_finite

# Columns updated one by one before the rest is updated in one product. The published code has 128; the result is equal
# up to rounding of float32 sums, and 64 took 0.6 of the time on one CPU core (512 × 1536, November 2026).
BLOCK_COLUMNS = 64


class SingularHessianError(Exception):
    """The damped Hessian has no Cholesky factor; the caller decides whether that is an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GptqOptions:
    """stream_damping: fraction of the mean diagonal (at least 1e-6) added by calibration. damping: fraction added
    before factoring. percentiles: row clips to try. act_order: columns by descending diagonal, not left to right."""

    stream_damping: float
    damping: float
    percentiles: Sequence[float]
    act_order: bool


def quantize_gptq(name: str, W_RC: Tensor, factor: "Factor", bits: int, percentiles: Sequence[float]) -> Quantized:
    """Round W to `bits` bits under the percentile with the least plain squared error (#792).

    Columns whose input is always zero are rounded to zero. Ties go to the first percentile in the given order.
    Raises QuantizationError like `percentile_scales`.
    """
    # Scales come from the original weights, before dead columns are cleared and columns updated.
    scales_PR = _distinct(percentile_scales(name, W_RC, bits, percentiles))
    W_RC = W_RC.float()
    codes_PRC = factor.round_columns(W_RC, scales_PR, positive_levels(bits))
    W_RC = W_RC.masked_fill(factor.dead, 0.0)
    error_P = (W_RC - codes_PRC * scales_PR.float()[:, :, None]).double().square().mean(dim=(1, 2))
    errors = error_P.tolist()
    best = errors.index(min(errors))
    return Quantized(codes_PRC[best].to(torch.int8), scales_PR[best])


def quantize_by_hessian(W_RC: Tensor, H_CC: Tensor, factor: "Factor", scales_PR: Tensor, levels: int) -> Quantized:
    """Round W to codes of magnitude up to `levels`, choosing for each row the scale with the least layer error
    ΔW_r H ΔW_rᵀ under the measured, undamped Hessian.

    scales_PR: float16 candidates. Ties go to the first.
    """
    W_RC, scales_PR = W_RC.float(), _distinct(scales_PR)
    codes_PRC = factor.round_columns(W_RC, scales_PR, levels)
    gap_PRC = (W_RC - codes_PRC * scales_PR.float()[:, :, None]).double()
    best_R = torch.einsum("prc,prc->pr", gap_PRC @ H_CC.double(), gap_PRC).argmin(dim=0)
    rows = torch.arange(len(W_RC))
    return Quantized(codes_PRC[best_R, rows].to(torch.int8), scales_PR[best_R, rows])


@dataclass(frozen=True, slots=True)
class Factor:
    """A damped Hessian, factored for rounding: column order [C], U [C, C] in that order, dead columns [C]."""

    order: Tensor
    U: Tensor
    dead: Tensor

    @property
    def curvature(self) -> float:
        """Layer error per squared rounding error, summed over columns: Σ 1 / U_cc².

        Column c, rounded with error e after its predecessors, adds (e / U_cc)²: the part of H's trace that later
        columns cannot compensate.
        """
        return float(self.U.diagonal().double().pow(-2).sum())

    def round_columns(self, W_RC: Tensor, scales_PR: Tensor, levels: int) -> Tensor:
        """Codes [P, R, C] of float32 W, as floats, with columns in W's order."""
        W_RC = W_RC.masked_fill(self.dead, 0.0)
        ordered_PRC = round_columns(W_RC[:, self.order], self.U.float(), scales_PR.float(), levels)
        codes_PRC = torch.empty_like(ordered_PRC)
        codes_PRC[:, :, self.order] = ordered_PRC
        return codes_PRC


def factored(name: str, W_RC: Tensor, H_CC: Tensor, options: GptqOptions) -> Factor:
    """Damp, order and factor the Hessian in float64.

    Raises QuantizationError for non-finite values or shapes that do not match, SingularHessianError if the damped
    Hessian is not positive definite.
    """
    require_finite(name, W_RC)
    require_finite(f"{name} (Hessian)", H_CC)
    R, C = W_RC.shape
    if H_CC.shape != (C, C):
        raise QuantizationError(
            f"{name}: shape {R} × {C} needs a Hessian of {C} × {C}, got {' × '.join(map(str, H_CC.shape))}; "
            "the Hessians are of another checkpoint: calibrate this one"
        )
    H_CC, dead_C = damp(H_CC.double(), options)
    order_C = torch.argsort(H_CC.diagonal(), descending=True, stable=True) if options.act_order else torch.arange(C)
    return Factor(order_C, inverse_factor(name, H_CC[order_C][:, order_C]), dead_C)


def damp(H_CC: Tensor, options: GptqOptions) -> tuple[Tensor, Tensor]:
    """Damp the Hessian, in float64; also returns which columns [C] are dead (their input was always zero).

    The published code damps twice, in calibration and here: together 2.01 % of the mean diagonal. After the first
    damping no diagonal entry is zero, so dead columns occur only without it; they get a diagonal of 1.
    """
    H_CC = H_CC.clone()
    diagonal_C = H_CC.diagonal()
    if options.stream_damping > 0:
        diagonal_C += options.stream_damping * max(float(diagonal_C.mean()), 1e-6)
    dead_C = diagonal_C == 0
    diagonal_C[dead_C] = 1.0
    diagonal_C += options.damping * float(diagonal_C.mean())
    return H_CC, dead_C


def inverse_factor(name: str, H_CC: Tensor) -> Tensor:
    """The upper triangular U with UᵀU = H⁻¹ and a positive diagonal, in float64.

    H = M Mᵀ with M upper triangular is a Cholesky factorization from the last column backwards, and U = M⁻¹: one
    factorization and one triangular solve, whereas inverting H first would take two and lose digits.
    Raises SingularHessianError if H is not positive definite.
    """
    M_flipped_CC, info = torch.linalg.cholesky_ex(H_CC.flip(0, 1))
    if int(info) != 0 or not bool(torch.isfinite(M_flipped_CC).all()):
        raise SingularHessianError(
            f"{name}: the damped Hessian of {len(H_CC)} columns is not positive definite "
            f"(diagonal {float(H_CC.diagonal().min()):.3g} to {float(H_CC.diagonal().max()):.3g})"
        )
    M_CC = M_flipped_CC.flip(0, 1)
    identity_CC = torch.eye(len(H_CC), dtype=H_CC.dtype)
    U_CC: Tensor = torch.linalg.solve_triangular(M_CC, identity_CC, upper=True)
    return U_CC


def round_columns(
    W_RC: Tensor, U_CC: Tensor, scales_PR: Tensor, levels: int, *, block_columns: int = BLOCK_COLUMNS
) -> Tensor:
    """Codes [P, R, C] (as floats, in [-levels, levels]) of W rounded left to right under each row of scales."""
    P, R = scales_PR.shape
    C = W_RC.shape[1]
    # Columns are processed one at a time, so store them as contiguous rows.
    free_PCR = W_RC.T.expand(P, C, R).clone()
    codes_PCR = torch.empty_like(free_PCR)
    for start in range(0, C, block_columns):
        end = min(start + block_columns, C)
        errors_PBR = torch.empty_like(free_PCR[:, start:end])
        for column in range(start, end):
            w_PR = free_PCR[:, column]
            q_PR = torch.round(w_PR / scales_PR).clamp_(-levels, levels)
            e_PR = (w_PR - q_PR * scales_PR) / U_CC[column, column]
            codes_PCR[:, column] = q_PR
            errors_PBR[:, column - start] = e_PR
            later_PBR = free_PCR[:, column + 1 : end]
            later_PBR.addcmul_(U_CC[column, column + 1 : end, None], e_PR[:, None, :], value=-1)
        if end < C:
            spread_PCB = U_CC[start:end, end:].T.expand(P, C - end, end - start)
            free_PCR[:, end:] = torch.baddbmm(free_PCR[:, end:], spread_PCB, errors_PBR, alpha=-1)
    return codes_PCR.transpose(1, 2).contiguous()


def _distinct(scales_PR: Tensor) -> Tensor:
    """Remove duplicate rows, keeping order: if all weights are below 1, every percentile hits the scale's floor."""
    kept: list[Tensor] = []
    for scale_R in scales_PR:
        if not any(torch.equal(scale_R, other_R) for other_R in kept):
            kept.append(scale_R)
    return torch.stack(kept)
