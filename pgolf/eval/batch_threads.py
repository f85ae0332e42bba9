"""Work on several CPU threads whose results come back in order and do not depend on the number of threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from pgolf.machine.in_order import Item, Result, in_order


def map_in_order(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """work(item) for every item, in their order, `threads` of them at work at any time, each on one torch thread.

    Parallel over items, not inside them: a matrix product cut over two threads rounds otherwise than over four, and at
    a few thousand rows the threads would mostly wait for one another. Holds threads + 1 results.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="in-order", initializer=torch.set_num_threads, initargs=(1,))
    try:
        with pool:
            yield from in_order(pool, work, items, ahead=threads)
    finally:
        # The workers' 1 also became what threads started later begin with.
        torch.set_num_threads(before)
