"""Temporarily set the number of CPU threads used inside torch operations."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """Run a block with `count` threads per torch operation, then restore the previous setting.

    The number of threads affects how sums and matrix products are split, and so their last bits; stages whose bytes
    must not depend on the machine's cores use one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
