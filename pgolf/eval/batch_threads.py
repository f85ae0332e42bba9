"""A parallel map on CPU threads, in order, whose results do not depend on the number of threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from pgolf.machine.in_order import Item, Result, in_order


def map_in_order(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """Yield work(item) for every item, in order, with `threads` items at a time, each on a single torch thread.

    Parallel over items, not inside them: a matrix product split over two threads rounds differently than over four, and
    at a few thousand rows the threads would mostly wait for each other. Holds threads + 1 results in memory.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="in-order", initializer=torch.set_num_threads, initargs=(1,))
    try:
        with pool:
            yield from in_order(pool, work, items, ahead=threads)
    finally:
        # Setting 1 in the workers also changed the default of threads started later.
        torch.set_num_threads(before)
