"""Estimates how many bytes codes take, without packing them.

Shapes: R rows of codes, C columns.
"""

import numpy as np
from torch import Tensor


def entropy_bytes(codes_RC: Tensor) -> float:
    """Order-0 entropy of int8 codes: what a coder that knows how often each occurs, and nothing else, needs."""
    counts = np.bincount(codes_RC.numpy().view(np.uint8).reshape(-1), minlength=256)
    shares = counts[counts > 0] / codes_RC.numel()
    return float(-(shares * np.log2(shares)).sum()) * codes_RC.numel() / 8
