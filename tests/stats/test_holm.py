"""Holm's correction."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pgolf.stats.holm import holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def test_an_example_by_hand():
    # 0.01 * 4, then 0.02 * 3, 0.03 * 2 is below that, 0.2 * 1.
    assert holm([0.03, 0.01, 0.2, 0.02]) == [0.06, 0.04, 0.2, 0.06]


@given(p_values, st.floats(0.001, 0.5))
def test_what_is_rejected_is_what_the_closed_test_rejects(p_values, level):
    """By definition: a hypothesis falls if every set of hypotheses that holds it has a p below level / size."""
    adjusted = holm(p_values)
    places = range(len(p_values))
    for place in places:
        sets = (
            chosen
            for size in range(1, len(p_values) + 1)
            for chosen in itertools.combinations(places, size)
            if place in chosen
        )
        falls = all(min(p_values[k] for k in chosen) * len(chosen) <= level for chosen in sets)
        assert (adjusted[place] <= level) == falls


def test_what_is_undefined_is_no_comparison():
    assert holm([None, 0.02, None]) == [None, 0.02, None]
    assert holm([None]) == [None]
