"""Round-to-nearest quantization: float matrices to small integers with a float16 scale per row, and back.

Shapes: R rows, C columns, W_RC a matrix; all arithmetic in float32, scales stored in float16.
A grid of b bits has q = 2^(b-1) - 1 positive levels: 31 for 6 bits, 15 for 5, 127 for 8.
Sources: Parameter Golf PRs #715 (rounding to nearest, int8 tables) and #745 (search over percentiles).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pgolf.errors import QuantizationError

# Clips an embedding row just below its largest entry: for 512 columns, at max minus 0.0008 of the gap to the next.
EMBEDDING_QUANTILE = 0.9999984

# The smallest float16 above zero: the scale of all-zero rows.
SMALLEST_SCALE = 2.0**-24

# torch.quantile accepts at most this many elements.
_QUANTILE_ELEMENTS = 1 << 24


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized matrix, codes · scale: int8 codes [R, C] and one float16 scale per row [R]."""

    codes: Tensor
    scale: Tensor

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """[R, C] in `dtype`; the product is computed in float32."""
        return (self.codes.float() * self.scale.float()[:, None]).to(dtype)


def positive_levels(bits: int) -> int:
    """Largest code of a symmetric grid of `bits` bits: 31 for 6."""
    return (1 << (bits - 1)) - 1


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise QuantizationError if values are NaN or infinite, with their number and the position of the first."""
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        bad = torch.nonzero(~finite)
        first = tuple(int(i) for i in bad[0])
        raise QuantizationError(
            f"{name}: {len(bad)} of {tensor.numel()} values are NaN or infinite, the first at {first} "
            f"({float(tensor[first])}); the checkpoint cannot be compressed, train it again"
        )


def row_scale(name: str, clip_R: Tensor, bits: int) -> Tensor:
    """The float16 scale of each row clipped at magnitude clip_R: max(clip / q, 1 / q).

    The floor gives all rows below magnitude 1 the same scale; the coarser step costs them little, and their codes
    compress better. fp16(1/31) = 0.032257080078125, fp16(1/15) = 0.066650390625.
    Raises QuantizationError if a scale overflows float16.
    """
    levels = positive_levels(bits)
    scale_R = torch.clamp(clip_R.float() / levels, min=1.0 / levels)
    return float16_scale(name, scale_R)


def round_to_nearest(name: str, W_RC: Tensor, bits: int) -> Quantized:
    """Scale each row by its largest magnitude and round half to even, clamped to [-q - 1, q] (PR #715).

    Raises QuantizationError if values are not finite or too large for a float16 scale.
    """
    require_finite(name, W_RC)
    W_RC = W_RC.float()
    levels = positive_levels(bits)
    scale_R = row_scale(name, W_RC.abs().amax(dim=1), bits)
    codes_RC = torch.clamp(torch.round(W_RC / scale_R.float()[:, None]), -levels - 1, levels)
    return Quantized(codes_RC.to(torch.int8), scale_R)


def round_to_scale(name: str, W_RC: Tensor, scale_R: Tensor, levels: int) -> Quantized:
    """Round half to even with a given float16 scale per row, clamped to [-levels, levels].

    Raises QuantizationError if values are not finite.
    """
    require_finite(name, W_RC)
    codes_RC = torch.clamp(torch.round(W_RC.float() / scale_R.float()[:, None]), -levels, levels)
    return Quantized(codes_RC.to(torch.int8), scale_R)


def percentile_scales(name: str, W_RC: Tensor, bits: int, percentiles: Sequence[float]) -> Tensor:
    """float16 scales [P, R], one row per percentile; 1.0 means the largest magnitude itself."""
    magnitude_RC = W_RC.float().abs()
    below = [p for p in percentiles if p < 1.0]
    clips_below_PR = row_quantiles(magnitude_RC, below) if below else torch.empty(0, len(W_RC))
    amax_R = magnitude_RC.amax(dim=1)
    clips = iter(clips_below_PR)
    return torch.stack([row_scale(name, next(clips) if p < 1.0 else amax_R, bits) for p in percentiles])


def clip_scales(name: str, W_RC: Tensor, bits: int, clips: Sequence[float]) -> Tensor:
    """float16 scales [P, R], one row per clip; a clip is a fraction of the row's largest magnitude. Without a floor.

    Raises QuantizationError if values are not finite or too large for a float16 scale.
    """
    require_finite(name, W_RC)
    step_R = W_RC.float().abs().amax(dim=1) / positive_levels(bits)
    return torch.stack([float16_scale(name, (clip * step_R).clamp_min(SMALLEST_SCALE)) for clip in clips])


def search_percentile(name: str, W_RC: Tensor, bits: int, percentiles: Sequence[float]) -> Quantized:
    """Round with the clip percentile of least mean squared error over the whole matrix (PR #745).

    Codes are clamped to [-q, q]. Ties go to the first percentile in the given order.
    Raises QuantizationError like `round_to_nearest`.
    """
    require_finite(name, W_RC)
    W_RC = W_RC.float()
    levels = positive_levels(bits)
    best: Quantized | None = None
    best_error = float("inf")
    seen: list[Tensor] = []
    for scale_R in percentile_scales(name, W_RC, bits, percentiles):
        # Rows at the floor have equal scales for every percentile; trying the same scales again cannot improve.
        if any(torch.equal(scale_R, other_R) for other_R in seen):
            continue
        seen.append(scale_R)
        codes_RC = torch.clamp(torch.round(W_RC / scale_R.float()[:, None]), -levels, levels)
        error = float((W_RC - codes_RC * scale_R.float()[:, None]).double().square().mean())
        if error < best_error:
            best, best_error = Quantized(codes_RC.to(torch.int8), scale_R), error
    assert best is not None
    return best


def round_embedding(name: str, W_RC: Tensor, bits: int) -> Quantized:
    """Clip each row at its 0.9999984 quantile and round to [-q, q] (the int8 tables of PR #715).

    Rounding uses the float32 scale; its float16 copy is stored and dequantizes. fp16(1/127) = 0.00787353515625.
    Raises QuantizationError like `round_to_nearest`.
    """
    require_finite(name, W_RC)
    W_RC = W_RC.float()
    levels = positive_levels(bits)
    clip_R1 = row_quantiles(W_RC.abs(), [EMBEDDING_QUANTILE])[0][:, None]
    scale_R1 = torch.clamp(clip_R1 / levels, min=1.0 / levels)
    clipped_RC = torch.maximum(torch.minimum(W_RC, clip_R1), -clip_R1)
    codes_RC = torch.clamp(torch.round(clipped_RC / scale_R1), -levels, levels)
    return Quantized(codes_RC.to(torch.int8), float16_scale(name, scale_R1[:, 0]))


def row_quantiles(W_RC: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Linearly interpolated quantiles of each row, float32 [len(quantiles), R]."""
    wanted = torch.tensor(quantiles, dtype=torch.float32)
    rows = max(1, _QUANTILE_ELEMENTS // max(1, W_RC.shape[1]))
    return torch.cat([torch.quantile(part_RC, wanted, dim=1) for part_RC in torch.split(W_RC, rows)], dim=1)


def float16_scale(name: str, scale_R: Tensor) -> Tensor:
    """Row scales as stored. Raises QuantizationError if one overflows float16."""
    stored_R = scale_R.to(torch.float16)
    if not bool(torch.isfinite(stored_R).all()):
        row = int(torch.nonzero(~torch.isfinite(stored_R))[0])
        raise QuantizationError(
            f"{name}: row {row} needs a scale of {float(scale_R[row]):.4g}, but float16 ends at 65504; "
            "weights this large mean that training diverged"
        )
    return stored_R
