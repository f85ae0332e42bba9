"""The mixtures, judged by the whole distributions they stand for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.counts.config import CountConfig
from pgolf.counts.count_stage import iterate_counts
from pgolf.counts.runs import plan_of
from pgolf.mix import interpolation as mix
from tests.oracles import plain_ngram as oracle

VOCAB = 4
ORDERS = (2, 3, 4)


@pytest.mark.parametrize(
    ("entropy", "pr761", "pr792"),
    # The table of weights in the description of #761 and #792; the last row is ln 1024.
    [(2, 0.0599, 0.0563), (3, 0.1156, 0.0917), (4, 0.325, 0.225), (5, 0.534, 0.358), (math.log(1024), 0.598, 0.399)],
)
def test_adaptive_weights_are_the_published_ones(entropy, pr761, pr792):
    entropy_T = np.array([entropy], np.float32)
    for span, expected in ((0.55, pr761), (0.35, pr792)):
        alpha_T = mix.adaptive_alpha(entropy_T, base=0.05, span=span, slope=2.0, threshold_nats=4.0)
        assert alpha_T.dtype == np.float32
        assert alpha_T[0] == pytest.approx(expected, abs=6e-4)  # printed with three or four digits


@given(st.lists(st.floats(0, 20, width=32), min_size=1), st.floats(0.1, 5), st.floats(-3, 12))
def test_sigmoid_is_rounded_once(entropies, slope, threshold):
    entropy_T = np.array(entropies, np.float32)
    x = [float(np.float32(slope) * (h - np.float32(threshold))) for h in entropy_T]
    expected = [1 / (1 + math.exp(-value)) for value in x]
    # Half a unit in the last place of a float32 in (0, 1], for values not below the normal range.
    assert np.allclose(mix.sigmoid_of_entropy(entropy_T, slope, threshold), expected, rtol=6e-8, atol=1e-38)


def test_estimate_is_clipped_as_published():
    context = np.array([0, 0, 2, 2, 5], np.uint32)
    full = np.array([0, 7, 0, 9, 2], np.uint32)
    assert mix.estimate(context, full).tolist() == [0.0, 0.0, 0.0, 1.0, 0.4]


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1), st.integers(1, 4))
def test_first_hit_is_the_longest_order_seen_often_enough(rows, min_count):
    context_OT = np.array(rows, np.uint32).T
    expected = [max((o for o in range(3) if row[o] >= min_count), default=-1) for row in rows]
    assert mix.first_hit(context_OT, min_count).tolist() == expected


def test_a_legacy_token_without_a_match_keeps_p_and_the_floor():
    loss_T = np.array([0.5, 40.0], np.float32)
    nothing = np.zeros(2, bool)
    got = mix.legacy_loss(loss_T, 0.4, np.ones(2), nothing)
    assert got == pytest.approx([0.5, -math.log(1e-12)])
    assert mix.normalized_loss(loss_T, 0.4, np.ones(2), nothing).tolist() == [0.5, 40.0]


def test_a_match_that_never_saw_the_target_still_mixes():
    loss_T = np.array([1.0], np.float32)
    got = mix.legacy_loss(loss_T, 0.25, np.zeros(1), np.ones(1, bool))
    assert got == pytest.approx([1.0 - math.log(0.75)])


def test_full_weight_on_an_estimate_of_zero_is_a_finite_loss():
    loss_T = np.array([3.0], np.float32)
    matched = np.ones(1, bool)
    assert mix.legacy_loss(loss_T, 1.0, np.zeros(1), matched) == pytest.approx([-math.log(1e-12)])
    # 1e-12·p: 1 - (1 - 1e-12) keeps four digits of 1e-12.
    assert mix.normalized_loss(loss_T, 1.0, np.zeros(1), matched) == pytest.approx([3.0 - math.log(1e-12)], abs=1e-4)


def losses_over_the_vocabulary(x, j, loss_TV, alpha, config, min_count, rows):
    """Loss of every v in place of x[j]: the counts are taken again for the altered stream, as a black box would."""
    losses = []
    for v in range(VOCAB):
        altered = np.array(x, np.uint16)
        altered[j] = v
        (counted,) = iterate_counts(config, plan_of(config, len(x) - 1), altered, vocab_size=VOCAB)
        context_O, full_O = counted.context[:, j - 1], counted.full[:, j - 1]
        hit = mix.first_hit(context_O[rows][:, None], min_count)
        r_T = mix.estimate(context_O[rows][hit], full_O[rows][hit])
        loss = mix.legacy_loss if config.estimator == "hashed" else mix.normalized_loss
        losses.append(loss(loss_TV[j - 1, [v]], alpha, r_T, hit >= 0)[0])
    return np.array(losses)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.3, 1.0, "adaptive"]),
    st.sampled_from(["segment", 1, 5]),
    st.integers(1, 3),
    st.lists(st.sampled_from([0, 1, 2]), min_size=1, unique=True).map(sorted),
)
def test_normalized_mixtures_sum_to_one_over_the_vocabulary(seed, alpha, granularity, min_count, rows):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, VOCAB, 60)
    loss_TV = -np.log(rng.dirichlet(np.full(VOCAB, 0.3), 59).clip(1e-30))
    loss_TV = (loss_TV + np.log(np.exp(-loss_TV).sum(1, keepdims=True))).astype(np.float32)
    if alpha == "adaptive":
        entropy_T = rng.uniform(0, 7, 1).astype(np.float32)
        alpha = mix.adaptive_alpha(entropy_T, base=0.05, span=0.55, slope=2.0, threshold_nats=4.0)
    config = CountConfig(estimator="exact", orders=ORDERS, window=16, stride=8, ranks=1, granularity=granularity)
    for j in rng.integers(1, 60, 3):
        losses_V = losses_over_the_vocabulary(x, j, loss_TV, alpha, config, min_count, rows)
        # The network's own losses are float32: an error of 6e-8 relative to a loss of up to 70 nats.
        model_mass = np.exp(-loss_TV[j - 1].astype(np.float64)).sum()
        assert abs(np.exp(-losses_V).sum() - 1) <= abs(model_mass - 1) + 1e-12


def test_hashed_mixtures_do_not_sum_to_one():
    """Few buckets, no repeated context: whatever token comes is handed a share."""
    x = np.random.default_rng(1).integers(0, VOCAB, 400)
    config = CountConfig(orders=(16,), buckets=64, window=16, stride=8, ranks=1)
    loss_TV = np.full((399, VOCAB), math.log(VOCAB), np.float32)
    mass = np.exp(-losses_over_the_vocabulary(x, 398, loss_TV, 0.4, config, 2, [0])).sum()
    assert mass > 1.5
    # The mass that the tables sampled says the same as trying every token.
    (counted,) = iterate_counts(config, plan_of(config, 399), x.astype(np.uint16), vocab_size=VOCAB)
    assert counted.sample.tolist() == list(range(399))
    assert mix.legacy_mass(0.4, counted.mass[:, 397], np.ones(1, bool)) == pytest.approx(mass, rel=1e-6)


def test_oracle_and_mixture_agree_on_a_hand_made_case():
    """x = 0 1 0 1 0 1: target 5 saw context (0) twice at token granularity, each time followed by 1."""
    x = [0, 1, 0, 1, 0, 1]
    counts = oracle.count(
        x, estimator="exact", order=2, window=2, stride=1, tail="once", granularity=1, ranks=1, buckets=0, primes=""
    )
    assert counts[4] == (2, 2)
    loss_T = np.array([math.log(4)], np.float32)
    got = mix.normalized_loss(loss_T, 0.5, mix.estimate(np.uint32([2]), np.uint32([2])), np.ones(1, bool))
    assert got == pytest.approx([-math.log(0.5 * 0.25 + 0.5)])
