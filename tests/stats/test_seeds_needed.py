"""How many seeds would show a gain: by the noncentral t, held against simulated seeds."""

import numpy as np
import pytest

from pgolf.stats.compare import GainRule, compare_paired, compare_welch
from pgolf.stats.seeds_needed import POWER, seeds_needed

RULE = GainRule(margin_nats=0.005, per="token", p_below=0.05, source="a test")


def exactly(mean, std, n=4):
    """n values with exactly this mean and sample standard deviation."""
    raw = np.arange(n) - (n - 1) / 2
    return mean + std * raw / raw.std(ddof=1)


def power(n, gain, stds, rng, paired=False):
    """The share of 4,000 simulated comparisons of n seeds a side that pass the rule."""
    candidate = rng.normal(-gain, stds[0], (4_000, n))
    base = rng.normal(0, stds[1], (4_000, n))
    if paired:
        tests = (compare_paired(dict(enumerate(a)), dict(enumerate(b)), rule=RULE) for a, b in zip(candidate, base))
    else:
        tests = (compare_welch(a, b, rule=RULE) for a, b in zip(candidate, base))
    return np.mean([test.passes for test in tests])


@pytest.mark.parametrize("stds", [(0.002, 0.002), (0.001, 0.003)])
def test_so_many_seeds_have_the_power_and_one_less_does_not(stds):
    seen = compare_welch(exactly(2.0 - 0.008, stds[0]), exactly(2.0, stds[1]), rule=RULE)
    n = seeds_needed(seen)
    rng = np.random.default_rng(1)
    # Of 4,000 repetitions a share of 0.8 is known to within 0.025 (4 standard errors). Welch's degrees of freedom vary
    # from draw to draw, the noncentral t takes those of the true spreads: as much again.
    assert power(n, 0.008, stds, rng) >= POWER - 0.05
    assert power(n - 1, 0.008, stds, rng) <= POWER + 0.05


def test_pairs_count_by_the_spread_of_their_gains():
    seeds = range(4)
    base = dict(zip(seeds, exactly(2.0, 0.05)))
    gains = dict(zip(seeds, exactly(0.006, 0.001)))
    paired = compare_paired({seed: base[seed] - gains[seed] for seed in seeds}, base, rule=RULE)
    assert paired.gains.std == pytest.approx(0.001)
    assert seeds_needed(paired) < 20
    assert seeds_needed(compare_welch([base[k] - gains[k] for k in seeds], base.values(), rule=RULE)) is None


def test_a_gain_within_the_margin_is_shown_by_no_number():
    assert seeds_needed(compare_welch(exactly(1.996, 0.001), exactly(2.0, 0.001), rule=RULE)) is None


def test_one_seed_has_no_spread_to_go_by():
    assert seeds_needed(compare_welch([1.9], exactly(2.0, 0.001), rule=RULE)) is None


def test_a_surer_gain_needs_no_more_seeds():
    needed = [
        seeds_needed(compare_welch(exactly(2 - g, 0.002), exactly(2, 0.002), rule=RULE)) for g in (6e-3, 8e-3, 2e-2)
    ]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] >= 2
