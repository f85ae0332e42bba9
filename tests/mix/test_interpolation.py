"""Fixed, backoff and adaptive mixtures, judged by the whole distributions they stand for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.counts.config import CountConfig
from pgolf.counts.count_stage import iterate_counts
from pgolf.counts.mass import MassSample
from pgolf.counts.runs import plan_of
from pgolf.mix.interpolation import Interpolation, serving_rows, sigmoid_of_entropy
from pgolf.mix.product import Cell
from tests.mixture_losses import counted_unit, losses_of
from tests.oracles import plain_ngram as oracle

VOCAB = 4
ORDERS = (2, 3, 4)
HASHED = {"counts": CountConfig(orders=(2,))}
EXACT = {"counts": CountConfig(orders=(2,), estimator="exact")}


def cell_of(estimator, alpha, *, mixer="backoff", order=2, min_count=1):
    """alpha: a number, or the settings of one that follows the entropy."""
    weight = alpha if isinstance(alpha, dict) else {"alpha": alpha}
    mixer = "adaptive" if isinstance(alpha, dict) else mixer
    return Cell(estimator=estimator, counts="counts", mixer=mixer, order=order, min_count=min_count, **weight)


def adaptive(span):
    return {"entropy_base": 0.05, "entropy_range": span, "entropy_slope": 2.0, "entropy_threshold_nats": 4.0}


@pytest.mark.parametrize(
    ("entropy", "pr761", "pr792"),
    # The table of weights in the description of #761 and #792; the last row is ln 1024.
    [(2, 0.0599, 0.0563), (3, 0.1156, 0.0917), (4, 0.325, 0.225), (5, 0.534, 0.358), (math.log(1024), 0.598, 0.399)],
)
@pytest.mark.parametrize("counts", [HASHED, EXACT], ids=["hashed", "exact"])
def test_adaptive_weights_are_the_published_ones(entropy, pr761, pr792, counts):
    """Of a target that the network does not expect at all and the counts are sure of, p' is the weight."""
    unit = counted_unit(np.float32([80.0]), [[5]], [[5]], entropy_nats=entropy)
    for span, expected in ((0.55, pr761), (0.35, pr792)):
        loss = losses_of(cell_of(counts["counts"].estimator, adaptive(span)), unit, counts)[0]
        weight = np.float32(math.exp(-loss))
        assert weight == pytest.approx(expected, abs=6e-4)  # printed with three or four digits
        # In single precision as published: ln of it, to the last digits of a double.
        assert loss == pytest.approx(-math.log(float(weight)), rel=1e-12)


@given(st.lists(st.floats(0, 20, width=32), min_size=1), st.floats(0.1, 5), st.floats(-3, 12))
def test_sigmoid_is_rounded_once(entropies, slope, threshold):
    entropy_T = np.array(entropies, np.float32)
    x = [float(np.float32(slope) * (h - np.float32(threshold))) for h in entropy_T]
    expected = [1 / (1 + math.exp(-value)) for value in x]
    # Half a unit in the last place of a float32 in (0, 1], for values not below the normal range.
    assert np.allclose(sigmoid_of_entropy(entropy_T, slope, threshold), expected, rtol=6e-8, atol=1e-38)


def test_estimate_is_clipped_as_published():
    """With all the weight on it p' is the estimate, or the floor; a context that was never seen leaves p."""
    unit = counted_unit(np.float32([1, 1, 1, 1, 1]), [[0, 0, 2, 2, 5]], [[0, 7, 0, 9, 2]])
    losses_T = losses_of(cell_of("hashed", 1.0), unit, HASHED)
    assert np.exp(-losses_T) == pytest.approx([math.exp(-1), math.exp(-1), 1e-12, 1.0, 0.4], rel=1e-12)


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1), st.integers(1, 4))
def test_the_longest_order_seen_often_enough_serves(rows, min_count):
    context_OT = np.array(rows, np.uint32).T
    expected = [max((o for o in range(3) if row[o] >= min_count), default=-1) for row in rows]
    assert serving_rows(np.ascontiguousarray(context_OT), np.array([2, 1, 0]), min_count).tolist() == expected


def test_a_legacy_token_without_a_match_keeps_p_and_the_floor():
    unit = counted_unit(np.float32([0.5, 40.0]), [[0, 0]], [[0, 0]])
    assert losses_of(cell_of("hashed", 0.4), unit, HASHED) == pytest.approx([0.5, -math.log(1e-12)])
    assert losses_of(cell_of("exact", 0.4), unit, EXACT).tolist() == [0.5, 40.0]


def test_a_match_that_never_saw_the_target_still_mixes():
    unit = counted_unit(np.float32([1.0]), [[3]], [[0]])
    assert losses_of(cell_of("hashed", 0.25), unit, HASHED) == pytest.approx([1.0 - math.log(0.75)])


def test_full_weight_on_an_estimate_of_zero_is_a_finite_loss():
    unit = counted_unit(np.float32([3.0]), [[3]], [[0]])
    assert losses_of(cell_of("hashed", 1.0), unit, HASHED) == pytest.approx([-math.log(1e-12)])
    # 1e-12·p: 1 - (1 - 1e-12) keeps four digits of 1e-12.
    assert losses_of(cell_of("exact", 1.0), unit, EXACT) == pytest.approx([3.0 - math.log(1e-12)], abs=1e-4)


def losses_over_the_vocabulary(x, j, loss_TV, config, cell, entropy_nats=1.0):
    """Loss of every v in place of x[j]: the counts are taken again for the altered stream, as a black box would."""
    losses = []
    for v in range(VOCAB):
        altered = np.array(x, np.uint16)
        altered[j] = v
        (counted,) = iterate_counts(config, plan_of(config, len(x) - 1), altered, vocab_size=VOCAB)
        here = slice(j - 1, j)
        context_OT, full_OT = counted.context[:, here], counted.full[:, here]
        unit = counted_unit(loss_TV[j - 1, [v]], context_OT, full_OT, entropy_nats=entropy_nats)
        losses.append(losses_of(cell, unit, {"counts": config})[0])
    return np.array(losses)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.3, 1.0, "adaptive"]),
    st.sampled_from(["segment", 1, 5]),
    st.integers(1, 3),
    st.sampled_from(["fixed", "backoff"]),
    st.sampled_from(ORDERS),
)
def test_normalized_mixtures_sum_to_one_over_the_vocabulary(seed, alpha, granularity, min_count, mixer, order):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, VOCAB, 60)
    loss_TV = -np.log(rng.dirichlet(np.full(VOCAB, 0.3), 59).clip(1e-30))
    loss_TV = (loss_TV + np.log(np.exp(-loss_TV).sum(1, keepdims=True))).astype(np.float32)
    alpha = adaptive(0.55) if alpha == "adaptive" else alpha
    cell = cell_of("exact", alpha, mixer=mixer, order=order, min_count=min_count)
    config = CountConfig(estimator="exact", orders=ORDERS, window=16, stride=8, ranks=1, granularity=granularity)
    for j in rng.integers(1, 60, 3):
        losses_V = losses_over_the_vocabulary(x, j, loss_TV, config, cell, rng.uniform(0, 7))
        # The network's own losses are float32: an error of 6e-8 relative to a loss of up to 70 nats.
        model_mass = np.exp(-loss_TV[j - 1].astype(np.float64)).sum()
        assert abs(np.exp(-losses_V).sum() - 1) <= abs(model_mass - 1) + 1e-12


def test_hashed_mixtures_do_not_sum_to_one():
    """Few buckets, no repeated context: whatever token comes is handed a share."""
    x = np.random.default_rng(1).integers(0, VOCAB, 400)
    config = CountConfig(orders=(16,), buckets=64, window=16, stride=8, ranks=1)
    loss_TV = np.full((399, VOCAB), math.log(VOCAB), np.float32)
    cell = cell_of("hashed", 0.4, mixer="fixed", order=16, min_count=2)
    mass = np.exp(-losses_over_the_vocabulary(x, 398, loss_TV, config, cell)).sum()
    assert mass > 1.5
    # The mass that the tables sampled says the same as trying every token.
    (counted,) = iterate_counts(config, plan_of(config, 399), x.astype(np.uint16), vocab_size=VOCAB)
    assert counted.sample.tolist() == list(range(399))
    sample = MassSample(counted.sample, counted.context, counted.mass)
    mass_T = Interpolation.mass(cell, config.orders, sample, np.ones(399, np.float32))
    assert mass_T[397] == pytest.approx(mass, rel=1e-6)


def test_oracle_and_mixture_agree_on_a_hand_made_case():
    """x = 0 1 0 1 0 1: target 5 saw context (0) twice at token granularity, each time followed by 1."""
    x = [0, 1, 0, 1, 0, 1]
    counts = oracle.count(
        x, estimator="exact", order=2, window=2, stride=1, tail="once", granularity=1, ranks=1, buckets=0, primes=""
    )
    assert counts[4] == (2, 2)
    unit = counted_unit(np.float32([math.log(4)]), [[2]], [[2]])
    assert losses_of(cell_of("exact", 0.5), unit, EXACT) == pytest.approx([-math.log(0.5 * 0.25 + 0.5)])
