"""Attempts that run side by side are judged in order, and stop when nobody wants them."""

import pytest

from pgolf.pack import packing
from pgolf.pack.container import Content, pack, serialize
from pgolf.pack.packing import Packing, packed_in_order
from pgolf.pack.plan import Plan


def packings(levels, begun=None):
    decoded = serialize(Content({}, {}))
    for level in levels:
        if begun is not None:
            begun.append(level)
        yield Packing(Plan("", {}), {}, decoded, "zstd", level)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_given_order_and_do_not_depend_on_the_workers(workers):
    levels = [16, 1, 17, 2, 5, 3, 4]
    results = list(packed_in_order(packings(levels), workers))
    assert [item.level for item, _ in results] == levels
    assert [file_bytes for _, file_bytes in results] == [pack(item.decoded, item.level) for item, _ in results]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_nothing_runs_beside_the_first_attempt(workers):
    begun: list[int] = []
    results = packed_in_order(packings([16, 1, 17, 2], begun), workers)
    next(results)
    results.close()
    assert begun == [16]


def test_closing_tells_running_attempts_to_stop(monkeypatch):
    stops = []

    def watched(decoded, level, *, codec, stop):
        stops.append(stop)
        return pack(decoded, level, stop=stop)

    monkeypatch.setattr(packing, "pack", watched)
    results = packed_in_order(packings([1, 2, 3, 4, 5]), 2)
    next(results)
    next(results)
    results.close()
    assert stops
    assert all(stop.is_set() for stop in stops)


def test_an_error_in_one_attempt_is_raised(monkeypatch):
    def broken(decoded, level, *, codec, stop):
        raise MemoryError("no room")

    monkeypatch.setattr(packing, "pack", broken)
    with pytest.raises(MemoryError):
        list(packed_in_order(packings([1, 2]), 2))
