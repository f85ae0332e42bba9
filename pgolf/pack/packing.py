"""Packs several attempts at once, yields them in order, and packs no part of a file twice."""

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pgolf.pack.codec import CodecName
from pgolf.pack.container import joined, packed_part, parts
from pgolf.pack.rounding_plan import Plan
from pgolf.pack.weights import Stored

# Packed parts are remembered up to so many bytes: a full-size network at both widths and four zstd levels takes 120 MB.
_REMEMBERED_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Packing:
    """One attempt before its size is known: the tensors, their serialized bytes, and how to compress them."""

    plan: Plan
    stored: Mapping[str, Stored]
    decoded: bytes
    codec: CodecName
    level: int


class PackedParts:
    """A cache of packed parts, finished or running. Codec, level and content decide a part's bytes and are its key, so
    a hit is what packing again would give.
    """

    def __init__(self) -> None:
        self._futures: OrderedDict[tuple[CodecName, int, bytes], Future[bytes]] = OrderedDict()

    def of(self, packing: Packing, pool: ThreadPoolExecutor, stop: threading.Event) -> list[Future[bytes]]:
        """The parts of a packing's file in order; those not known are begun in `pool`."""
        futures = []
        for part in parts(packing.codec, packing.decoded):
            key = (packing.codec, packing.level, hashlib.sha256(part).digest())
            future = self._futures.pop(key, None) or pool.submit(packed_part, *key[:2], part, stop=stop)
            self._futures[key] = future
            futures.append(future)
        return futures

    def forget_unfinished(self) -> None:
        """Drop what was stopped, failed or never begun."""
        for key, future in list(self._futures.items()):
            if future.cancel() or future.exception() or not future.result():
                del self._futures[key]

    def forget_oldest(self) -> None:
        """Drop what was not asked for longest, beyond what is remembered."""
        sizes = {key: len(future.result()) for key, future in self._futures.items() if future.done()}
        surplus_bytes = sum(sizes.values()) - _REMEMBERED_BYTES
        for key, size_bytes in sizes.items():
            if surplus_bytes <= 0:
                break
            del self._futures[key]
            surplus_bytes -= size_bytes


def packed_in_order(
    packings: Iterator[Packing], workers: int, known: PackedParts, *, first_alone: bool = True
) -> Generator[tuple[Packing, bytes], None, None]:
    """Each packing with its file's bytes, in the given order, their parts packed by `workers` threads some way ahead.

    known: parts packed before; those of these packings come to them. first_alone: whether nothing runs beside the
    first, which most often is the only one wanted of a network's packings.
    Closing the generator stops what is still running: attempts after the first that fits are not wanted.
    """
    stop = threading.Event()
    running: deque[tuple[Packing, list[Future[bytes]]]] = deque()
    # Attempts begun before the first of them is judged: enough that every worker has one where a file is one part
    # (rans). More would hold more copies of the network and pack more in vain.
    ahead = 1 if first_alone else 1 + workers
    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                for packing in packings:
                    running.append((packing, known.of(packing, pool, stop)))
                    if len(running) >= ahead:
                        yield _finished(*running.popleft())
                        known.forget_oldest()
                        ahead = 1 + workers
                while running:
                    yield _finished(*running.popleft())
            finally:
                stop.set()
                for _packing, futures in running:
                    for future in futures:
                        future.cancel()
    finally:
        known.forget_unfinished()


def _finished(packing: Packing, futures: Sequence[Future[bytes]]) -> tuple[Packing, bytes]:
    return packing, joined(packing.codec, packing.decoded, [future.result() for future in futures])
