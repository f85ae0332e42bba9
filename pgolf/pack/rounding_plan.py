"""A plan: the grid to round each quantized tensor to. Policies propose plans, the quantizer carries them out."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RowScales:
    """A grid chosen freely: a float16 scale per row, [R], and the largest code's magnitude (at most 127)."""

    scale: Tensor
    levels: int


# Bits of a published grid, whose scales follow from the weights, or scales.
Grid = int | RowScales


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """rung: what a person reads of it. grids: by name, for every matrix and every table."""

    rung: str
    grids: Mapping[str, Grid]
