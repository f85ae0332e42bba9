"""Sums of -ln p over many probabilities, at one logarithm per 16 of them.

Logarithms are taken of products of 16 factors. With at most 16 factors in [1e-12, 1] (legacy) a product is at least
1e-192, far from the smallest double, 2e-308, and its relative error at most 16 roundings, 2e-15: an error of 2e-15 nats
for 16 targets. Factors of a normalized mixture have no such floor. Every factor is at most 1, up to a rounding, so a
product only falls: one that ends above 1e-290 was never below it, and one that ends below is taken again, target by
target.

A probability below LEAST_PROBABILITY has lost digits, or is 0 though the loss is finite. It is left out of the sum, and
the caller, told so, adds its loss from logarithms (`pgolf.mix.grid`).

The compiled code on disk is checked against the file of the function that was called, and against no other: a loop that
called a compiled function of another file would go on with that one's old code. So no compiled function calls one of
another file. Mixtures fill tiles of probabilities, and what is done with them is called from Python.

Shapes: A rows, one per cell; K targets; T records; P columns of members.
"""

import math
from collections.abc import Callable, Iterator

import numba
import numpy as np
import numpy.typing as npt

DEPTH = 16  # factors per logarithm; 1e-12 ** 16 is far from underflow
LANES = 32  # products that grow side by side, so that the loop over them is vector code
GROUP = DEPTH * LANES
LEAST_PRODUCT = 1e-290

# Ten million times the smallest double with all its digits, and a loss of 690 nats: roundings of what made it are less
# than 1e-16 of it.
LEAST_PROBABILITY = 1e-300

# Probabilities of a tile, 512 KiB, and its rows: a tile and what it is made from stay within a core's second-level
# cache, and calls from Python are a few per cent of the time.
TILE = 1 << 16
TILE_ROWS = 16

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
AddLosses = Callable[[Float64Array, Float64Array, float], bool]


def tile_parts(rows: int, targets: int, *, step: int = 1) -> Iterator[tuple[slice, slice]]:
    """Cut rows × targets into tiles of at most TILE probabilities; rows are cut behind multiples of `step` alone.

    Each row's targets come in order, in whole groups but for the last, so that sums do not depend on the cut.
    """
    height = min(rows, max(step, TILE_ROWS // step * step))
    width = max(GROUP, TILE // max(height, 1) // GROUP * GROUP)
    for first in range(0, targets, width):
        for row in range(0, rows, height):
            yield slice(row, min(row + height, rows)), slice(first, min(first + width, targets))


@numba.njit(nogil=True, cache=True)
def add_losses(loss_A: Float64Array, p_AK: Float64Array, floor: float) -> bool:
    """Add every row's sum of -ln max(p, floor), group by group.

    Returns whether probabilities below LEAST_PROBABILITY were left out.
    """
    left_out = False
    product = np.empty(LANES)
    for a in range(len(p_AK)):
        p_K = p_AK[a]
        for first in range(0, len(p_K), GROUP):
            last = min(first + GROUP, len(p_K))
            whole = first + (last - first) // LANES * LANES
            product[:] = 1.0
            for step in range(first, whole, LANES):
                for lane in range(LANES):
                    p = p_K[step + lane]
                    product[lane] *= p if p > floor else floor
            for i in range(whole, last):
                product[i - whole] *= max(p_K[i], floor)
            loss = 0.0
            for lane in range(LANES):
                if product[lane] > LEAST_PRODUCT:
                    loss -= math.log(product[lane])
                else:
                    for i in range(first + lane, last, LANES):
                        p = max(p_K[i], floor)
                        if p < LEAST_PROBABILITY:
                            left_out = True
                        else:
                            loss -= math.log(p)
            loss_A[a] += loss
    return left_out


@numba.njit(nogil=True, cache=True)
def add_losses_in_turn(loss_A: Float64Array, p_AK: Float64Array, floor: float) -> bool:
    """As add_losses, each logarithm added to the row's sum at once, and the last targets one by one.

    Another order of additions, kept beside the first so that sums of published results stay what they are to the bit.
    """
    left_out = False
    product = np.empty(LANES)
    for a in range(len(p_AK)):
        p_K = p_AK[a]
        whole = len(p_K) // GROUP * GROUP
        for first in range(0, whole, GROUP):
            product[:] = 1.0
            for step in range(first, first + GROUP, LANES):
                for lane in range(LANES):
                    p = p_K[step + lane]
                    product[lane] *= p if p > floor else floor
            for lane in range(LANES):
                if product[lane] > LEAST_PRODUCT:
                    loss_A[a] -= math.log(product[lane])
                else:
                    for i in range(first + lane, first + GROUP, LANES):
                        p = max(p_K[i], floor)
                        if p < LEAST_PROBABILITY:
                            left_out = True
                        else:
                            loss_A[a] -= math.log(p)
        for i in range(whole, len(p_K)):
            p = max(p_K[i], floor)
            if p < LEAST_PROBABILITY:
                left_out = True
            else:
                loss_A[a] -= math.log(p)
    return left_out


@numba.njit(nogil=True, cache=True)
def scatter(out_TP: Float64Array, record_K: Int64Array, column_A: Int64Array, p_AK: Float64Array) -> None:
    """Write out[record, column] = p[a, k]."""
    for i in range(len(record_K)):
        for a in range(len(column_A)):
            out_TP[record_K[i], column_A[a]] = p_AK[a, i]
