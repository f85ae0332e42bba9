"""Attempts at packing that run side by side but are judged in their order."""

import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pgolf.pack.container import Codec, pack
from pgolf.pack.plan import Plan
from pgolf.pack.weights import Stored


@dataclass(frozen=True, slots=True)
class Packing:
    """One attempt before its size is known: the tensors, their serialized bytes, and how to compress them."""

    plan: Plan
    stored: Mapping[str, Stored]
    decoded: bytes
    codec: Codec
    level: int


def packed_in_order(
    packings: Iterator[Packing], workers: int, *, first_alone: bool = True
) -> Generator[tuple[Packing, bytes], None, None]:
    """Each packing with its file's bytes, in the given order, computed by `workers` threads some way ahead.

    first_alone: whether nothing runs beside the first, which most often is the only one wanted of a network's packings.
    Closing the generator stops what is still running: attempts after the first that fits are not wanted.
    """
    stop = threading.Event()
    running: deque[tuple[Packing, Future[bytes]]] = deque()
    # The slow levels (16, 17) stand between fast ones: two attempts ahead per worker let them overlap, without holding
    # many copies of the network.
    ahead = 1 if first_alone else 2 * workers
    with ThreadPoolExecutor(workers) as pool:
        try:
            for packing in packings:
                running.append((packing, _started(pool, packing, stop)))
                if len(running) >= ahead:
                    first, future = running.popleft()
                    yield first, future.result()
                    ahead = 2 * workers
            while running:
                first, future = running.popleft()
                yield first, future.result()
        finally:
            stop.set()
            for _packing, future in running:
                future.cancel()


def _started(pool: ThreadPoolExecutor, packing: Packing, stop: threading.Event) -> Future[bytes]:
    return pool.submit(pack, packing.decoded, packing.level, codec=packing.codec, stop=stop)
