"""GPTQ from its definition, without blocks, factors or updates: one least-squares problem per column, O(C⁴)."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def gptq_by_definition(W_RC: Matrix, H_CC: Matrix, snap: Callable[[Matrix], Matrix]) -> Matrix:
    """Quantize columns left to right; before each, the free columns move to where the layer's error is least.

    The error of a row is (w - q) H (w - q)ᵀ. With the first c entries of q given, its minimum over the free entries
    is at w_free + (w_done - q_done) H[done, free] H[free, free]⁻¹, of which entry c is then snapped to the grid.
    """
    R, C = W_RC.shape
    Q_RC = np.zeros((R, C))
    for c in range(C):
        done, free = slice(0, c), slice(c, C)
        gap_RD = W_RC[:, done] - Q_RC[:, done]
        shift_RF = np.linalg.solve(H_CC[free, free], (gap_RD @ H_CC[done, free]).T).T
        Q_RC[:, c] = snap(W_RC[:, c] + shift_RF[:, 0])
    return Q_RC
