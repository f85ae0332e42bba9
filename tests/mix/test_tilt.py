"""The hint tilt, judged by the whole distributions it stands for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.mix.tilt import confident_hit, tilted_loss, tilts
from tests.oracles import plain_mixtures as oracle

VOCAB = 7


def loss_of(q_V, token, hint, b, gamma=0.0):
    """Loss of one token under the tilt by `hint`, from what a trace holds of the network."""
    hinted = hint is not None
    return tilted_loss(
        np.array([-math.log(q_V[token])]),
        np.float32([math.log(q_V[hint]) if hinted else 0.0]),
        np.array([token == hint]),
        np.array([hinted]),
        tilt_nats=b,
        gamma=gamma,
    )[0]


def held(q_V, hint):
    """A distribution whose hint has a logarithm that a trace holds exactly, as a single; it sums to 1 in double."""
    q_V = np.array(q_V, np.float64)
    if hint is not None:
        p_hint = float(np.exp(np.float64(np.float32(np.log(q_V[hint])))))
        q_V *= (1 - p_hint) / (1 - q_V[hint])
        q_V[hint] = p_hint
    return q_V


@given(st.integers(0, 2**32), st.floats(0, 20), st.sampled_from([None, 0, 3]))
def test_the_whole_vocabulary_is_the_definitions_and_sums_to_one(seed, b, hint):
    q_V = np.random.default_rng(seed).dirichlet(np.full(VOCAB, 0.5)).clip(1e-9)
    q_V = held(q_V / q_V.sum(), hint)
    p_V = np.exp([-loss_of(q_V, token, hint, b) for token in range(VOCAB)])
    assert p_V == pytest.approx(np.array(oracle.tilt(q_V, hint, b)), rel=1e-9)
    assert abs(p_V.sum() - 1) <= 1e-12


@given(st.floats(1e-6, 0.999), st.floats(0, 20), st.sampled_from([0.0, 0.5, 2.0]))
def test_hint_and_rest_sum_to_one(p_hint, b, gamma):
    logp = np.float32([math.log(p_hint)])
    p_hint = float(np.exp(np.float64(logp[0])))
    hinted = np.ones(1, bool)
    # The rest behaves as one token of probability 1 - p(hint), taken in double here by hand.
    right = tilted_loss(-logp, logp, np.ones(1, bool), hinted, tilt_nats=b, gamma=gamma)
    scale = tilted_loss(np.zeros(1, np.float32), logp, np.zeros(1, bool), hinted, tilt_nats=b, gamma=gamma)
    assert abs(math.exp(-right[0]) + (1 - p_hint) * math.exp(-scale[0]) - 1) <= 1e-12


def test_no_tilt_and_no_hint_change_nothing():
    q_V = held([0.5, 0.3, 0.2], 1)
    for token in range(3):
        plain = -math.log(q_V[token])
        assert loss_of(q_V, token, 1, 0.0) == plain
        assert loss_of(q_V, token, None, 5.0) == plain


def test_a_growing_tilt_makes_the_hint_certain():
    q_V = held([0.5, 0.3, 0.2], 2)
    assert loss_of(q_V, 2, 2, 20.0) == pytest.approx(0, abs=1e-8)
    assert loss_of(q_V, 0, 2, 20.0) > 15


def test_a_tilt_with_gamma_fades_where_the_network_is_sure():
    logp_T = np.log(np.array([0.01, 0.5, 0.99])).astype(np.float32)
    assert tilts(logp_T, 2.0, 0.0).tolist() == [2.0, 2.0, 2.0]
    assert tilts(logp_T, 2.0, 1.0) == pytest.approx([1.98, 1.0, 0.02], rel=1e-5)


def test_the_published_tilt_of_a_hint():
    """b = 2.625 lifts a hint of probability 0.2 to 0.2·13.80 / (0.2·13.80 + 0.8)."""
    assert loss_of(held([0.2, 0.8], 0), 0, 0, 2.625) == pytest.approx(
        -math.log(0.2 * math.exp(2.625) / (0.2 * math.exp(2.625) + 0.8)), rel=1e-6
    )


@given(
    st.lists(st.tuples(*[st.tuples(st.integers(0, 6), st.integers(0, 6))] * 3), min_size=1),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5, 0.8, 1.0]),
)
def test_the_hint_is_that_of_the_longest_order_that_is_frequent_and_sure_enough(rows, min_count, confidence):
    context_OT = np.array([[c for c, _ in row] for row in rows], np.uint32).T
    count_OT = np.minimum(np.array([[h for _, h in row] for row in rows], np.uint32).T, context_OT)
    hit_T = confident_hit(context_OT, count_OT, min_count=min_count, confidence=confidence)
    for t, hit in enumerate(hit_T):
        hints = [(order, order, int(context_OT[order, t]), int(count_OT[order, t])) for order in range(3)]
        expected = oracle.hint_of(hints, min_count, confidence)
        assert (None if hit < 0 else hit) == expected
