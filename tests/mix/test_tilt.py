"""The hint tilt, judged by the whole distributions it stands for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.mix.grid import Hints, Unit
from pgolf.mix.product import Cell
from tests.mixture_losses import losses_of
from tests.oracles import plain_mixtures as oracle

VOCAB = 7


def tilted_loss(loss_T, hint_logp_T, is_target_T, hinted_T, *, tilt_nats, gamma=0.0):
    """Losses under hints of one order, all of them sure; hinted_T: there is one."""
    sure_T = np.asarray(hinted_T, np.uint32)
    hints = Hints([sure_T], [sure_T], [is_target_T], [hint_logp_T])
    unit = Unit(loss_T, np.ones(len(loss_T), np.float32), {}, hints)
    cell = Cell(
        estimator="hint", mixer="tilt", order=7, min_count=1, tilt_nats=tilt_nats, tilt_confidence=0.8, tilt_gamma=gamma
    )
    return losses_of(cell, unit, {}, (7,))


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
    p_T = np.array([0.01, 0.5, 0.99])
    logp_T, every_T = np.log(p_T).astype(np.float32), np.ones(3, bool)
    for gamma, tilt_T in ((0.0, np.array([2.0, 2.0, 2.0])), (1.0, np.array([1.98, 1.0, 0.02]))):
        loss_T = tilted_loss(-logp_T, logp_T, every_T, every_T, tilt_nats=2.0, gamma=gamma)
        lifted_T = p_T * np.exp(tilt_T)
        assert np.exp(-loss_T) == pytest.approx(lifted_T / (lifted_T + 1 - p_T), rel=1e-5)


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
    # By the p(hint) of each order, a tilt of a wrong hint tells which one it was.
    logp_OT = np.log(np.array([[0.1], [0.2], [0.4]])).astype(np.float32) + np.zeros(context_OT.shape, np.float32)
    wrong_OT = np.zeros(context_OT.shape, bool)
    unit = Unit(
        np.zeros(len(rows), np.float32),
        np.ones(len(rows), np.float32),
        {},
        Hints(list(context_OT), list(count_OT), list(wrong_OT), list(logp_OT)),
    )
    settings = {"min_count": min_count, "tilt_confidence": confidence, "tilt_gamma": 0.0}
    cell = Cell(estimator="hint", mixer="tilt", order=2, tilt_nats=math.log(2), **settings)
    loss_T = losses_of(cell, unit, {}, (0, 1, 2))
    for t, loss in enumerate(loss_T):
        hints = [(order, order, int(context_OT[order, t]), int(count_OT[order, t])) for order in range(3)]
        hint = oracle.hint_of(hints, min_count, confidence)
        assert loss == pytest.approx(0.0 if hint is None else math.log1p((0.1, 0.2, 0.4)[hint]), rel=1e-6)
