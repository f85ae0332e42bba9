"""Mean, sample standard deviation and n over seeds."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.errors import DataError
from pgolf.stats.seeds import SeedSummary, summarize

losses = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


@given(st.lists(losses, min_size=2, max_size=12))
def test_summary_equals_exact_rational_arithmetic(values):
    summary = summarize(values)
    # The standard library computes both over exact fractions; one rounding of a sum of 12 terms is below 1e-12
    # relative, and a spread below the rounding of the mean itself (1e6 · 2^-52) is not resolved.
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(statistics.mean(values), rel=1e-12, abs=1e-9)
    assert summary.std == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-9)


@given(st.lists(losses, min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_seeds_does_not_matter(values, random):
    shuffled = values.copy()
    random.shuffle(shuffled)
    assert summarize(shuffled) == summarize(values)


def test_a_published_record_gives_its_published_mean_and_deviation():
    # submission.json of openai/parameter-golf PR #1019.
    summary = summarize([1.11508120, 1.11437394, 1.11475014])
    assert summary.n == 3
    assert summary.mean == pytest.approx(1.11473509, abs=5e-9)
    assert summary.std == pytest.approx(0.00035387, abs=5e-9)


def test_one_seed_has_a_mean_and_no_deviation():
    assert summarize([1.25]) == SeedSummary(n=1, mean=1.25, std=None)


@given(losses, st.integers(min_value=2, max_value=60))
def test_equal_seeds_deviate_by_exactly_nothing(loss, n):
    assert summarize([loss] * n) == SeedSummary(n=n, mean=loss, std=0.0)


def test_no_seeds_are_refused():
    with pytest.raises(DataError, match="at least 1 value"):
        summarize([])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_by_position(bad):
    with pytest.raises(DataError, match="value 2 of 3"):
        summarize([1.0, bad, 1.0])
