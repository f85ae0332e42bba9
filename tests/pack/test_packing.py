"""Attempts that run side by side are judged in order, and stop when nobody wants them."""

import numpy as np
import pytest

from pgolf.pack import packing
from pgolf.pack.container import pack, packed_part, parts, serialize
from pgolf.pack.named_arrays import Content
from pgolf.pack.packing import PackedParts, Packing, packed_in_order
from pgolf.pack.rounding_plan import Plan


def packings(levels, begun=None):
    decoded = serialize(Content({}, {}))
    for level in levels:
        if begun is not None:
            begun.append(level)
        yield Packing(Plan("", {}), {}, decoded, "zstd", level)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_given_order_and_do_not_depend_on_the_workers(workers):
    levels = [16, 1, 17, 2, 5, 3, 4]
    results = list(packed_in_order(packings(levels), workers, PackedParts()))
    assert [item.level for item, _ in results] == levels
    assert [file_bytes for _, file_bytes in results] == [pack(item.decoded, item.level) for item, _ in results]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_nothing_runs_beside_the_first_attempt(workers):
    begun: list[int] = []
    results = packed_in_order(packings([16, 1, 17, 2], begun), workers, PackedParts())
    next(results)
    results.close()
    assert begun == [16]


def test_closing_tells_running_attempts_to_stop(monkeypatch):
    stops = []

    def watched(codec, level, part, *, stop):
        stops.append(stop)
        return packed_part(codec, level, part, stop=stop)

    monkeypatch.setattr(packing, "packed_part", watched)
    results = packed_in_order(packings([1, 2, 3, 4, 5]), 2, PackedParts())
    next(results)
    next(results)
    results.close()
    assert stops
    assert all(stop.is_set() for stop in stops)


def test_an_error_in_one_attempt_is_raised(monkeypatch):
    def broken(codec, level, part, *, stop):
        raise MemoryError("no room")

    monkeypatch.setattr(packing, "packed_part", broken)
    known = PackedParts()
    with pytest.raises(MemoryError):
        list(packed_in_order(packings([1, 2]), 2, known))
    # A failure is not remembered.
    monkeypatch.undo()
    assert len(list(packed_in_order(packings([1, 2]), 2, known))) == 2


def matrices(**changed):
    """Content of four parts: three matrices of a part each, and the rest."""
    arrays = {name: np.full((600, 600), changed.get(name, ord(name)), np.int8) for name in ("a", "b", "c")}
    return serialize(Content({}, arrays | {"z": np.zeros(5, np.float16)}))


def counted(monkeypatch):
    """The parts packed from now on, by level and length."""
    begun = []

    def watched(codec, level, part, *, stop):
        begun.append((level, len(part)))
        return packed_part(codec, level, part, stop=stop)

    monkeypatch.setattr(packing, "packed_part", watched)
    return begun


@pytest.mark.parametrize("workers", [1, 3])
def test_a_part_is_packed_once_however_often_it_is_wanted_and_the_files_are_the_same(monkeypatch, workers):
    begun = counted(monkeypatch)
    contents = [matrices(), matrices(b=1), matrices(b=1, c=2), matrices(b=1)]
    wanted = [Packing(Plan("", {}), {}, decoded, "zstd", level) for decoded in contents for level in (1, 3)]
    known = PackedParts()
    results = list(packed_in_order(iter(wanted[:2]), workers, known)) + list(
        packed_in_order(iter(wanted[2:]), workers, known, first_alone=False)
    )
    assert [file_bytes for _, file_bytes in results] == [pack(item.decoded, item.level) for item in wanted]
    # Four parts, then b's and c's other ones, at two levels.
    assert len(begun) == 2 * (4 + 1 + 1)


def test_parts_not_asked_for_longest_are_forgotten_first(monkeypatch):
    contents = [matrices(), matrices(b=1), matrices(b=2)]
    # As much as one file takes.
    size_bytes = sum(len(packed_part("zstd", 1, part)) for part in parts("zstd", contents[2]))
    monkeypatch.setattr(packing, "_REMEMBERED_BYTES", size_bytes)
    known = PackedParts()
    for decoded in contents:
        list(packed_in_order(iter([Packing(Plan("", {}), {}, decoded, "zstd", 1)]), 1, known))
    begun = counted(monkeypatch)
    for decoded in (contents[2], contents[0]):
        ((_packing, file_bytes),) = packed_in_order(iter([Packing(Plan("", {}), {}, decoded, "zstd", 1)]), 1, known)
        assert file_bytes == pack(decoded, 1)
    assert begun == [(1, 600 * 600)]


def test_what_was_stopped_is_packed_again():
    levels = [16, 1, 17, 2]
    known = PackedParts()
    results = packed_in_order(packings(levels), 2, known)
    next(results)
    results.close()
    again = list(packed_in_order(packings(levels), 2, known))
    assert [file_bytes for _, file_bytes in again] == [pack(item.decoded, item.level) for item, _ in again]
