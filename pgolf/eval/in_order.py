"""Work on several CPU threads whose results come back in order and do not depend on the number of threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """work(item) for every item, in their order, `threads` of them at work at any time, each on one torch thread.

    Parallel over items, not inside them: a matrix product cut over two threads rounds otherwise than over four, and at
    a few thousand rows the threads would mostly wait for one another. Holds threads + 1 results.
    """
    before = torch.get_num_threads()
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="in-order", initializer=torch.set_num_threads, initargs=(1,))
    try:
        with pool:
            try:
                for item in items:
                    pending.append(pool.submit(work, item))
                    if len(pending) > threads:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()
    finally:
        # The workers' 1 also became what threads started later begin with.
        torch.set_num_threads(before)
