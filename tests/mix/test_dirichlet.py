"""The Dirichlet recursion, judged by the whole distributions it stands for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.counts.config import CountConfig
from pgolf.counts.count_stage import iterate_counts
from pgolf.counts.mass import MassSample
from pgolf.counts.runs import plan_of
from pgolf.mix.dirichlet import Dirichlet
from pgolf.mix.product import Cell
from tests.mixture_losses import counted_unit, losses_of
from tests.oracles import plain_mixtures as oracle

VOCAB = 4
ORDERS = (2, 3, 5)


def distributions(seed, targets):
    """A network's distribution at every target, float64 [T, V], and its losses as a trace would hold them."""
    q_TV = np.random.default_rng(seed).dirichlet(np.full(VOCAB, 0.4), targets).clip(1e-6)
    return q_TV / q_TV.sum(axis=1, keepdims=True)


def counts_of(config, x):
    (counted,) = iterate_counts(config, plan_of(config, len(x) - 1), np.array(x, np.uint16), vocab_size=VOCAB)
    return counted


def cell_of(config, k):
    return Cell(
        estimator=config.estimator, counts="counts", mixer="dirichlet", order=config.orders[-1], concentration=k
    )


def dirichlet_losses(loss_T, context_OT, full_OT, k, config):
    """Losses of the longest order."""
    return losses_of(cell_of(config, k), counted_unit(loss_T, context_OT, full_OT), {"counts": config})


def distribution(x, j, q_V, k, config):
    """p' of every v in place of x[j], each from the counts of the altered stream, as a black box would."""
    losses = []
    for v in range(VOCAB):
        counted = counts_of(config, [*x[:j], v, *x[j + 1 :]])
        here = slice(j - 1, j)
        loss_T = -np.log(q_V[v : v + 1])
        losses.append(dirichlet_losses(loss_T, counted.context[:, here], counted.full[:, here], k, config)[0])
    return np.exp(-np.array(losses))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([1e-6, 0.3, 5.0, 1e9]), st.sampled_from([1, 5]))
def test_the_whole_vocabulary_is_the_definitions_and_sums_to_one(seed, k, granularity):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, VOCAB, 50).tolist()
    q_TV = distributions(seed, 50)
    config = CountConfig(estimator="exact", orders=ORDERS, window=16, stride=8, ranks=1, granularity=granularity)
    for j in rng.integers(1, 49, 3):
        # 48 targets make whole windows; a target sees the n-grams that end before its group.
        first = (j - 1) // granularity * granularity
        p_V = distribution(x, j, q_TV[j], k, config)
        assert p_V == pytest.approx(oracle.dirichlet(q_TV[j], [x[: first + 1]], x[:j], ORDERS, k), rel=1e-12)
        assert abs(p_V.sum() - 1) <= 1e-12


def test_a_later_token_changes_nothing():
    rng = np.random.default_rng(1)
    x = rng.integers(0, VOCAB, 49)
    config = CountConfig(estimator="exact", orders=ORDERS, window=16, stride=8, ranks=1, granularity=1)
    loss_T = rng.exponential(1, 48).astype(np.float32)
    counted = counts_of(config, x)
    before_T = dirichlet_losses(loss_T, counted.context, counted.full, 2.0, config)
    for j in (1, 20, 48):
        altered = x.copy()
        altered[j] = (x[j] + 1) % VOCAB
        counted = counts_of(config, altered)
        after_T = dirichlet_losses(loss_T, counted.context, counted.full, 2.0, config)
        assert np.array_equal(after_T[: j - 1], before_T[: j - 1])
        assert (after_T[j - 1 :] != before_T[j - 1 :]).any()


def test_no_say_for_the_shorter_orders_leaves_the_longest_frequencies_and_all_of_it_the_network():
    config = CountConfig(estimator="exact", orders=(2, 3))
    loss_T = -np.log(np.array([0.2, 0.2, 0.2]))
    context_OT, full_OT = [[5, 5, 0], [4, 0, 0]], [[2, 2, 0], [3, 0, 0]]
    for k, expected in ((1e-12, [3 / 4, 2 / 5, 0.2]), (1e15, [0.2, 0.2, 0.2])):
        assert np.exp(-dirichlet_losses(loss_T, context_OT, full_OT, k, config)) == pytest.approx(expected, rel=1e-9)


def test_hashed_counts_hand_out_the_mass_that_the_sampled_sums_say():
    """Few buckets: trying every token in place of the target gives the recursion over the sampled sums, far above 1."""
    x = np.random.default_rng(1).integers(0, VOCAB, 401).tolist()
    config = CountConfig(orders=(8, 16), buckets=64, window=16, stride=8, ranks=1)
    counted = counts_of(config, x)
    assert counted.sample.tolist() == list(range(400))
    sample = MassSample(counted.sample, counted.context, counted.mass)
    mass = Dirichlet.mass(cell_of(config, 4.0), config.orders, sample, np.ones(400, np.float32))[397]
    q_V = np.full(VOCAB, 1 / VOCAB)
    assert distribution(x, 398, q_V, 4.0, config).sum() == pytest.approx(mass, rel=1e-12)
    assert mass > 1.5


def test_a_legacy_target_that_was_never_seen_keeps_the_published_floor():
    loss_T, nothing = np.array([60.0], np.float32), [[0]]
    for estimator, expected in (("hashed", -math.log(1e-12)), ("exact", 60.0)):
        config = CountConfig(orders=(2,), estimator=estimator)
        assert dirichlet_losses(loss_T, nothing, nothing, 1.0, config) == pytest.approx([expected])
