"""Welch's and the paired one-sided test of a gain beyond a margin."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgolf.errors import DataError
from pgolf.stats.compare import CHRONOLOGICAL_RULE, RECORD_RULE, GainRule, compare_paired, compare_welch

NO_MARGIN = GainRule(margin_nats=0.0, per="token", p_below=0.01, source="a test")

# submission.json of openai/parameter-golf PR #1019: val_bpb of three seeds each. t and df do not change with the unit.
RECORD = [1.11508120, 1.11437394, 1.11475014]
BEFORE = [1.11922988, 1.12002032, 1.11888882]

seeds = st.lists(st.floats(min_value=0.5, max_value=3.0), min_size=2, max_size=8)


def test_a_published_record_gives_its_published_t_and_degrees_of_freedom():
    comparison = compare_welch(RECORD, BEFORE, rule=NO_MARGIN)
    assert round(comparison.t, 3) == -11.834
    assert round(comparison.df, 3) == 3.306
    assert comparison.passes is True


def test_the_rule_for_records_states_margin_unit_and_source():
    assert RECORD_RULE.margin_nats == 0.005
    assert RECORD_RULE.p_below == 0.01
    assert RECORD_RULE.unit == "nats per token"
    assert "README" in RECORD_RULE.source


def test_the_published_gain_exceeds_the_margin_at_the_margins_own_rate():
    # Nats per token of the same record: 151,080,363 bytes over 62,021,632 tokens.
    to_nats = 1 / 0.59225633
    comparison = compare_welch([v * to_nats for v in RECORD], [v * to_nats for v in BEFORE])
    assert comparison.gain_nats == pytest.approx(0.00784, abs=5e-6)
    assert comparison.passes is True
    assert comparison.p > compare_welch(RECORD, BEFORE, rule=NO_MARGIN).p


@given(seeds, seeds, st.floats(min_value=0.0, max_value=0.1))
def test_welch_equals_scipys_test_on_shifted_samples(candidate, base, margin):
    from scipy import stats

    rule = GainRule(margin_nats=margin, per="token", p_below=0.01, source="a test")
    comparison = compare_welch(candidate, base, rule=rule)
    # Below, rounding of the shifted samples decides, and scipy says so in a warning.
    assume(min(comparison.candidate.std, comparison.base.std) > 1e-6)
    oracle = stats.ttest_ind([v + margin for v in candidate], base, equal_var=False, alternative="less")
    assert comparison.t == pytest.approx(oracle.statistic, rel=1e-6, abs=1e-6)
    assert comparison.df == pytest.approx(oracle.df, rel=1e-6)
    assert comparison.p == pytest.approx(oracle.pvalue, rel=1e-4, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0.5, 3.0), st.floats(0.5, 3.0)), min_size=2, max_size=8), st.floats(0.0, 0.1))
def test_paired_equals_scipys_test_on_shifted_samples(pairs, margin):
    from scipy import stats

    candidate = {seed: pair[0] for seed, pair in enumerate(pairs)}
    base = {seed: pair[1] for seed, pair in enumerate(pairs)}
    gains = [b - c for c, b in pairs]
    assume(max(gains) - min(gains) > 1e-6)
    rule = GainRule(margin_nats=margin, per="token", p_below=0.01, source="a test")
    comparison = compare_paired(candidate, base, rule=rule)
    oracle = stats.ttest_1samp(gains, margin, alternative="greater")
    assert comparison.t == pytest.approx(-oracle.statistic, rel=1e-6, abs=1e-6)
    assert comparison.df == oracle.df
    assert comparison.p == pytest.approx(oracle.pvalue, rel=1e-4, abs=1e-12)


@given(seeds, seeds)
def test_two_sides_exchanged_give_complementary_p_without_a_margin(one, other):
    forth, back = compare_welch(one, other, rule=NO_MARGIN), compare_welch(other, one, rule=NO_MARGIN)
    if forth.p is None:
        assert back.p is None
    else:
        assert forth.p + back.p == pytest.approx(1.0, abs=1e-12)
        assert forth.gain_nats == -back.gain_nats


def test_p_is_one_half_for_a_gain_of_exactly_the_margin():
    comparison = compare_welch(
        [1.0, 1.5], [1.25, 1.75], rule=GainRule(margin_nats=0.25, per="byte", p_below=0.01, source="")
    )
    assert comparison.t == 0.0
    assert comparison.p == 0.5


def test_pairs_find_a_steady_gain_that_the_spread_of_seeds_drowns():
    base = {seed: 1.0 + 0.1 * seed for seed in range(3)}
    candidate = {seed: loss - 0.02 - 1e-4 * seed for seed, loss in base.items()}
    assert compare_paired(candidate, base).p < 1e-3
    assert compare_welch(candidate.values(), base.values()).p > 0.4


def test_pairs_are_matched_by_seed_and_not_by_order():
    base = {1: 1.0, 2: 2.0, 3: 4.0}
    candidate = {3: 3.9, 1: 0.9, 2: 1.8}
    assert compare_paired(candidate, base).gain_nats == pytest.approx(0.4 / 3)


def test_seeds_on_one_side_only_are_named():
    with pytest.raises(DataError, match="of which 7, 42 are on one side only"):
        compare_paired({1337: 1.0, 42: 1.0}, {1337: 1.0, 7: 1.1})


@pytest.mark.parametrize(("candidate", "base"), [([1.0], [1.1, 1.2]), ([1.0, 1.1], [1.2]), ([1.0, 1.0], [1.1, 1.1])])
def test_p_is_missing_where_the_test_is_undefined(candidate, base):
    comparison = compare_welch(candidate, base)
    assert (comparison.t, comparison.df, comparison.p, comparison.passes) == (None, None, None, None)
    assert comparison.gain_nats == pytest.approx(sum(base) / len(base) - sum(candidate) / len(candidate))


def test_p_of_a_pair_of_single_seeds_is_missing():
    assert compare_paired({1: 1.0}, {1: 1.1}).p is None


def test_seeds_that_agree_to_many_digits_do_not_underflow():
    tiny = math.ldexp(1.0, -300)
    comparison = compare_welch([tiny, 2 * tiny], [4 * tiny, 5 * tiny], rule=NO_MARGIN)
    assert comparison.df == pytest.approx(2.0)


def test_an_empty_side_is_refused():
    with pytest.raises(DataError, match="at least 1 value"):
        compare_welch([], [1.0, 2.0])


@given(seeds, seeds)
def test_the_interval_is_that_of_scipys_two_sided_test(candidate, base):
    from scipy import stats

    comparison = compare_welch(candidate, base, rule=NO_MARGIN)
    assume(min(comparison.candidate.std, comparison.base.std) > 1e-6)
    oracle = stats.ttest_ind(base, candidate, equal_var=False).confidence_interval(0.95)
    assert comparison.low_nats == pytest.approx(oracle.low, rel=1e-6, abs=1e-9)
    assert comparison.high_nats == pytest.approx(oracle.high, rel=1e-6, abs=1e-9)


def test_the_interval_of_pairs_is_that_of_their_gains():
    from scipy import stats

    base = dict(enumerate(BEFORE))
    comparison = compare_paired(dict(enumerate(RECORD)), base, rule=NO_MARGIN)
    oracle = stats.ttest_rel(BEFORE, RECORD).confidence_interval(0.95)
    assert (comparison.low_nats, comparison.high_nats) == pytest.approx((oracle.low, oracle.high), rel=1e-9)


def test_the_chronological_rule_asks_for_any_gain_at_one_in_four():
    assert (CHRONOLOGICAL_RULE.margin_nats, CHRONOLOGICAL_RULE.p_below) == (0.0, 0.25)
    assert "#1902" in CHRONOLOGICAL_RULE.source
