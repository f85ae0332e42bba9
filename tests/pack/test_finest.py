"""The search for the finest plan that fits, part by part, against plain definitions on sizes made up for it."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pgolf.pack.bracket import NARROW, Bracket
from pgolf.pack.filling import Filling, Halving
from pgolf.pack.finest import _first_that_fits_beyond
from pgolf.pack.rounding_plan import Plan, RowScales
from pgolf.pack.trials import Trial

LOW, HIGH = -1.0, 5.0
EVERYWHERE = np.arange(LOW, HIGH + NARROW / 4, NARROW / 2).clip(max=HIGH)
# Far more packings than a search of these lengths takes; compression stops after finest.MOST_PLANS.
MANY = 400


def trial(size_bytes: int, limit_bytes: int, plan: Plan | None = None) -> Trial:
    return Trial(
        number=0,
        plan=plan or Plan("", {}),
        level=0,
        stored={},
        file_bytes=bytes(size_bytes),
        total_bytes=size_bytes,
        fits=size_bytes <= limit_bytes,
    )


def searched(size_at, *, limit_bytes: int, start: float, unused_bytes: float = 0, bytes_per_doubling=40) -> Bracket:
    """The bracket at its end, its invariant held after every packing."""
    bracket = Bracket(
        LOW,
        HIGH,
        start=start,
        limit_bytes=limit_bytes,
        unused_bytes=unused_bytes,
        bytes_per_doubling=bytes_per_doubling,
    )
    for _number in range(MANY):
        tried, over, fits = bracket.at, bracket.over, bracket.fits
        assert LOW <= tried <= HIGH
        assert over is None or over.at < tried
        assert fits is None or tried < fits.at
        bracket.add(trial(size_at(tried), limit_bytes))
        if bracket.over:
            assert bracket.over.at in (tried, over and over.at)
            assert limit_bytes < bracket.over.size_bytes == size_at(bracket.over.at)
        if bracket.fits:
            assert bracket.fits.at in (tried, fits and fits.at)
            assert size_at(bracket.fits.at) == bracket.fits.size_bytes <= limit_bytes
        if bracket.has_ended:
            return bracket
    raise AssertionError(f"no end after {MANY} packings")


def in_steps(sizes):
    """Sizes along the range, each over an equal part of it."""
    return lambda at: sizes[min(int((at - LOW) / (HIGH - LOW) * len(sizes)), len(sizes) - 1)]


SIZES = st.lists(st.integers(0, 2000), min_size=1, max_size=40)
SEARCH = {"limit_bytes": st.integers(0, 2000), "start": st.floats(LOW, HIGH), "unused_bytes": st.integers(0, 40)}


@given(SIZES.map(lambda sizes: sorted(sizes, reverse=True)), st.fixed_dictionaries(SEARCH), st.integers(0, 100))
def test_where_sizes_fall_the_bracket_ends_at_the_finest_that_fits(sizes, search, slope):
    def size_at(at):
        return in_steps(sizes)(at) + int(slope * (HIGH - at))

    bracket = searched(size_at, **search)
    fitting = [at for at in EVERYWHERE if size_at(at) <= search["limit_bytes"]]
    if bracket.fits is None:
        assert not fitting
    elif search["limit_bytes"] - bracket.fits.size_bytes > search["unused_bytes"]:
        assert fitting[0] >= bracket.fits.at - NARROW
    if bracket.over:
        assert all(at > bracket.over.at for at in fitting)


@given(SIZES, st.fixed_dictionaries(SEARCH))
def test_whatever_the_sizes_the_bracket_ends_at_one_that_fits_beside_one_that_does_not(sizes, search):
    bracket = searched(in_steps(sizes), **search)
    if bracket.fits is None:
        assert bracket.over is not None
        assert bracket.over.at == HIGH
    elif bracket.jump is None and bracket.fits.at > LOW:
        assert search["limit_bytes"] - bracket.fits.size_bytes <= search["unused_bytes"]


@given(st.floats(LOW, HIGH), st.floats(LOW, HIGH + 1))
def test_beyond_a_plateau_of_sizes_a_plan_that_fits_is_found_in_a_few_packings(over_at, fits_from):
    """Secants from above a plateau creep: here they never left it, however far the budget was met."""
    packed = []

    def pack(at):
        packed.append(at)
        return trial(0 if at >= fits_from else 11, limit_bytes=10)

    found = _first_that_fits_beyond(over_at, HIGH, pack)
    assert all(over_at < at <= HIGH for at in packed)
    assert len(packed) <= np.log2((HIGH - LOW) / NARROW) + 2
    if over_at >= HIGH or fits_from > HIGH:
        assert found is None
        assert not packed or packed[-1] == HIGH
    else:
        assert found is not None
        assert found.at == packed[-1]
        assert found.trial.fits
        # No coarser than twice as far away as need be.
        assert found.at - over_at <= max(2 * (max(fits_from, over_at) - over_at), NARROW) + 1e-12


@pytest.mark.parametrize(
    ("size_at", "fits_at", "over_at"),
    [
        (lambda _at: 1001, None, HIGH),
        (lambda _at: 1000, "start", None),
        (lambda _at: 10, LOW, None),
        (lambda at: 1000 if at > 2 else 1001, "any", "any"),
        (lambda at: 990 if at > 2 else 1010, 2.0, 2.0),
        (lambda at: 1000 - int(100 * (at - 2)), 2.0, "any"),
    ],
    ids=["nothing fits", "exact fit", "everything fits", "exact fit in a jump", "a jump", "a slope"],
)
def test_the_ends_of_a_search(size_at, fits_at, over_at):
    bracket = searched(size_at, limit_bytes=1000, start=3.5, unused_bytes=5)
    for end, expected in ((bracket.fits, fits_at), (bracket.over, over_at)):
        if expected is None:
            assert end is None
        elif expected == "start":
            assert end.at == 3.5
        elif expected != "any":
            assert end.at == pytest.approx(expected, abs=max(NARROW, 5 / 100))


@given(st.lists(st.booleans(), max_size=70))
def test_halving_ends_at_a_number_of_rows_that_fits_beside_one_that_does_not(fits):
    """fits: whether so many rows do, from one row on."""
    halving, tries = Halving(len(fits)), 0
    tried = {0: True}
    while halving.is_open:
        assert halving.few < halving.rows <= halving.many
        assert tries or halving.rows == len(fits)
        tried[halving.rows] = fits[halving.rows - 1]
        halving.add(fits=fits[halving.rows - 1])
        tries += 1
        assert tried[halving.few]
        assert halving.many == len(fits) or not tried[halving.many + 1]
    assert tries <= 1 + len(fits).bit_length()
    assert halving.few == halving.many
    if fits == sorted(fits, reverse=True):
        assert halving.few == sum(fits)


def rows_taken(plan: Plan, finer: Plan) -> dict[str, list[bool]]:
    return {name: (grid.scale == finer.grids[name].scale).tolist() for name, grid in plan.grids.items()}


def scaled(rows: dict[str, int], scale: float) -> Plan:
    return Plan(str(scale), {name: RowScales(torch.full((count,), scale), 7) for name, count in rows.items()})


def filled(rows: list[int], size_of, *, limit_bytes: int, most_packed: int = 1000, unused_bytes: float = -1):
    """Rows taken of each tensor, and how many packings that took; the invariant is held after each."""
    tensors = {f"t{number}": count for number, count in enumerate(rows)}
    coarse, fine = scaled(tensors, 2.0), scaled(tensors, 1.0)
    packed = []

    def pack(plan: Plan) -> Trial:
        packed.append(require_invariant())
        taken = rows_taken(plan, fine)
        return trial(size_of(taken), limit_bytes, plan)

    def require_invariant() -> list[list[bool]]:
        assert len(filling.best.file_bytes) <= limit_bytes
        taken = list(rows_taken(filling.best.plan, fine).values())
        assert all(ours == sorted(ours, reverse=True) for ours in taken)
        for before in packed:
            assert all(now >= then for now, then in zip(chain(*taken), chain(*before), strict=True))
        return taken

    first = trial(size_of(rows_taken(coarse, fine)), limit_bytes, coarse)
    filling = Filling(first, pack, limit_bytes=limit_bytes, unused_bytes=unused_bytes, most_packed=most_packed)
    filling.take(fine)
    assert len(packed) <= most_packed
    return [sum(taken) for taken in require_invariant()], len(packed)


ROWS = st.lists(st.integers(0, 6), min_size=1, max_size=4)


@given(ROWS, st.data())
def test_where_rows_only_add_every_tensor_takes_as_many_as_fit_one_tensor_after_the_other(rows, data):
    costs = data.draw(st.lists(st.integers(0, 30), min_size=sum(rows), max_size=sum(rows)))
    room = data.draw(st.integers(0, 1 + sum(costs)))

    def size_of(taken):
        return 100 + sum(cost for cost, taken in zip(costs, chain(*taken.values()), strict=True) if taken)

    expected, left = [], room
    for number, count in enumerate(rows):
        mine = costs[sum(rows[:number]) :][:count]
        most = max(taken for taken in range(count + 1) if sum(mine[:taken]) <= left)
        expected.append(most)
        left -= sum(mine[:most])
    taken, packings = filled(rows, size_of, limit_bytes=100 + room)
    assert taken == expected
    if sum(costs) <= room:
        assert packings == (1 if sum(rows) else 0)


@given(ROWS, st.integers(0, 2**32), st.integers(90, 200), st.integers(0, 20), st.integers(-1, 30))
def test_whatever_the_sizes_the_best_packing_fits_and_only_gets_finer(rows, seed, limit, most_packed, unused):
    """Sizes that know nothing of the rows taken but which they are."""

    def size_of(taken):
        finer = list(chain(*taken.values()))
        return int(np.random.default_rng([seed, *finer]).integers(80, 220)) if any(finer) else 90

    filled(rows, size_of, limit_bytes=limit, most_packed=most_packed, unused_bytes=unused)


def test_a_jump_in_size_leaves_the_rest_of_its_tensor_and_the_next_ones_go_on():
    def size_of(taken):
        return 100 + sum(taken["t0"]) + sum(taken["t2"]) + (50 if sum(taken["t1"]) > 2 else 0)

    assert filled([5, 6, 4], size_of, limit_bytes=120)[0] == [5, 2, 4]


def test_a_budget_that_is_used_or_enough_packings_end_it():
    def size_of(taken):
        return 100 + sum(sum(rows) for rows in taken.values())

    assert filled([8, 8], size_of, limit_bytes=104, unused_bytes=0) == ([4, 0], 3)
    assert filled([8, 8], size_of, limit_bytes=100, unused_bytes=0) == ([0, 0], 0)
    assert filled([8, 8], size_of, limit_bytes=105, most_packed=2)[1] == 2
