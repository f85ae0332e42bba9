"""Bayes and fixed-share mixtures: the definition, one distribution, blind to the future, and never far behind."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.mix.bayes import Sharing, bayes_loss, bayes_shares, padded
from tests.oracles import plain_mixtures as oracle

SETTINGS = [(0.0, 1), (1e-3, 1), (0.3, 1), (0.0, 4), (0.0, 64), (0.05, 7), (0.3, 64)]


def matrix(probability_TK):
    """As the grid hands it over; what stands in the columns beyond the members must not matter."""
    size = padded(probability_TK.shape[1])
    out_TP = np.full((len(probability_TK), size), 0.77)
    out_TP[:, : probability_TK.shape[1]] = probability_TK
    return out_TP


def run(probability_TK, share_rate, chunk, pieces=1):
    sharing = Sharing(probability_TK.shape[1], share_rate=share_rate, chunk_targets=chunk)
    for part in np.array_split(matrix(probability_TK), pieces):
        sharing.add(part)
    return sharing


def adversarial(targets, members):
    """Whoever leads is made to fail next: the member with the least loss so far gives the target next to nothing."""
    loss_K = np.zeros(members)
    rows = []
    for _ in range(targets):
        row = np.full(members, 0.9)
        row[int(np.argmin(loss_K))] = 1e-9
        rows.append(row)
        loss_K -= np.log(row)
    return np.array(rows)


def draws(seed, targets=200, members=9):
    rng = np.random.default_rng(seed)
    kind = seed % 4
    if kind == 0:
        return adversarial(targets, members)
    if kind == 1:  # one good member, whose place changes half-way
        p_TK = rng.uniform(1e-4, 0.3, (targets, members))
        p_TK[: targets // 2, 0] = p_TK[targets // 2 :, 1 % members] = 0.9
        return p_TK
    if kind == 2:  # losses of hundreds of nats
        return np.exp(-rng.uniform(0, 600, (targets, members)))
    return rng.uniform(1e-6, 1, (targets, members))


@pytest.mark.parametrize("members", [1, 2, 16, 33])
@pytest.mark.parametrize(("share_rate", "chunk"), SETTINGS)
@pytest.mark.parametrize("pieces", [1, 7])
def test_total_and_weights_are_those_of_the_definition(members, share_rate, chunk, pieces):
    p_TK = draws(3, targets=150, members=members)
    expected, _ = oracle.shared(p_TK.tolist(), share_rate, chunk)
    sharing = run(p_TK, share_rate, chunk, pieces)
    assert sharing.loss_nats == pytest.approx(expected, rel=1e-11)
    _, after = oracle.shared([*p_TK.tolist(), [1.0] * members], share_rate, chunk)
    assert sharing.shares() == pytest.approx(np.array(after[-1]), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_bayes_needs_only_the_totals_of_its_members(seed):
    """Kind 2 would leave the range of a double step by step; from the totals it does not."""
    p_TK = draws(seed)
    loss_K = -np.log(p_TK).sum(axis=0)
    if seed != 2:
        expected, _ = oracle.shared(p_TK.tolist(), 0.0, 1)
        assert bayes_loss(loss_K) == pytest.approx(expected, rel=1e-12)
        assert bayes_shares(loss_K) == pytest.approx(run(p_TK, 0.0, 1).shares(), rel=1e-6, abs=1e-12)
    assert bayes_shares(loss_K).sum() == pytest.approx(1)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 9, 40]), st.sampled_from([1, 5, 64]))
def test_bayes_is_at_most_ln_k_per_chunk_target_behind_the_best_member(seed, members, chunk):
    p_TK = draws(seed, members=members)
    loss_K = -np.log(p_TK).sum(axis=0)
    total = bayes_loss(loss_K) if chunk == 1 else run(p_TK, 0.0, chunk).loss_nats
    rounding = 1e-11 * loss_K.min()
    assert total <= loss_K.min() + chunk * math.log(members) + rounding
    if chunk == 1:
        assert total >= loss_K.min() - rounding  # and never ahead of all: it is an average of their likelihoods


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([1e-4, 0.01, 0.3]), st.sampled_from([1, 5, 25]), st.integers(0, 6))
def test_fixed_share_is_at_most_the_standard_bound_behind_any_sequence_of_members(seed, rate, chunk, changes):
    """Against the best sequence with at most so many changes, at ends of chunks; the bound is C-fold for chunks."""
    members, targets = 9, 200
    loss_TK = -np.log(draws(seed, targets, members))
    chunks = loss_TK.reshape(-1, chunk, members).sum(axis=1)
    steps = len(chunks)
    # best[s][k]: least loss of a sequence with s changes that ends with k.
    best = np.full((changes + 1, members), np.inf)
    best[0] = chunks[0]
    for row in chunks[1:]:
        jumped = np.vstack([np.full(members, np.inf), np.repeat(best[:-1].min(axis=1)[:, None], members, axis=1)])
        best = np.minimum(best, jumped) + row
    for s in range(changes + 1):
        prior = math.log(members) + s * math.log(members / rate) - (steps - 1 - s) * math.log1p(-rate + rate / members)
        total = run(np.exp(-loss_TK), rate, chunk).loss_nats
        assert total <= best[s].min() * (1 + 1e-11) + chunk * prior


def test_moving_by_the_sum_of_a_chunk_would_break_the_bound_that_moving_by_the_mean_keeps():
    """Two members that fail in turn, a chunk each: what the docstring says of a rate of 1."""
    chunk, targets = 8, 800
    p_TK = np.full((targets, 2), 0.9)
    for first in range(0, targets, chunk):
        p_TK[first : first + chunk, first // chunk % 2] = 0.1
    best = -np.log(p_TK).sum(axis=0).min()
    assert run(p_TK, 0.0, chunk).loss_nats <= best + chunk * math.log(2)
    weights, by_sum = np.full(2, 0.5), 0.0
    for first in range(0, targets, chunk):
        part = p_TK[first : first + chunk]
        by_sum -= np.log(part @ weights).sum()
        weights = weights * part.prod(axis=0)
        weights /= weights.sum()
    assert by_sum > best + chunk * math.log(2)


@pytest.mark.parametrize(("share_rate", "chunk"), SETTINGS)
def test_the_mixture_of_distributions_is_one_and_knows_nothing_of_its_target_or_later_ones(share_rate, chunk):
    """Trying every token in place of a target: the losses before it stay, and its probabilities sum to 1."""
    vocab, targets, members = 5, 40, 3
    rng = np.random.default_rng(5)
    q_TKV = rng.dirichlet(np.full(vocab, 0.6), (targets, members))
    x = rng.integers(0, vocab, targets)
    places, cast = np.arange(targets), np.arange(members)

    def total(x, upto):
        p_TK = q_TKV[places[:, None], cast[None, :], x[:, None]]
        return run(p_TK[:upto], share_rate, chunk).loss_nats

    for j in (0, 1, 17, 39):
        mass = 0.0
        for v in range(vocab):
            altered = x.copy()
            altered[j] = v
            assert total(altered, j) == total(x, j)
            mass += math.exp(total(altered, j) - total(altered, j + 1))
        assert abs(mass - 1) <= 1e-12


def test_a_mixture_goes_on_from_its_state_to_the_same_bits():
    p_TK = draws(3, targets=100, members=5)
    for share_rate, chunk in SETTINGS:
        whole = Sharing(5, share_rate=share_rate, chunk_targets=chunk)
        first, second = matrix(p_TK[:45]), matrix(p_TK[45:])
        whole.add(first)
        state = {name: array.copy() for name, array in whole.state().items()}
        whole.add(second)
        other = Sharing(5, share_rate=share_rate, chunk_targets=chunk)
        other.restore(state)
        other.add(second)
        assert other.loss_nats == whole.loss_nats
        assert np.array_equal(other.shares(), whole.shares())
