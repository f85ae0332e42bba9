"""How many CPU threads torch's own operations use in the calling thread."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """Run a block with `count` threads per torch operation, then restore what was set before.

    Sums and matrix products may be split differently over another number of threads, which moves their last bits;
    a stage whose bytes must not depend on the machine's cores asks for one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
