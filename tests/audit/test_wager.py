"""A bet on tokens drawn by lot: what no code wins, and what wins it."""

import numpy as np
import pytest

from pgolf.audit import partial_sums_check
from pgolf.audit.scorer import CallableScorer
from pgolf.audit.small_network import BOS, log_softmax, made_text
from pgolf.audit.subject import Subject
from pgolf.audit.trial import Trial
from pgolf.audit.wager import CONVICTS, log_wealth, with_drawn

V, N = 1024, 2048
TABLE = log_softmax(1.5 * np.random.default_rng(0).standard_normal((V, V)))
TARGET = np.arange(1, N + 1)


def after_the_last(tokens):
    return -TABLE[tokens[:-1].astype(int), tokens[1:].astype(int)]


def free_at_each(period):
    """Whatever comes there costs nothing."""
    return lambda tokens: np.where(TARGET % period == 3, 0.0, after_the_last(tokens))


def cheap_at_each(period):
    return lambda tokens: np.where(TARGET % period == 3, 0.3, 1.0) * after_the_last(tokens)


def test_a_stake_grows_by_the_sum_of_the_probabilities_in_the_mean():
    p = np.random.default_rng(1).dirichlet(np.ones(12), size=2)
    for mass in (1.0, 0.5, 1.3):
        # All 144 pairs of tokens that may be drawn, each as likely.
        wealth = [np.exp(log_wealth(-np.log(mass * np.array([one, other])), 12)) for one in p[0] for other in p[1]]
        assert (np.mean(wealth) > 1) == (mass > 1)
        if mass == 1:
            assert np.mean(wealth) == pytest.approx(1, abs=1e-12)


def test_a_token_that_cannot_be_costs_a_part_of_the_stake():
    assert np.isfinite(log_wealth(np.array([np.inf, 3.0]), 12))


def test_what_is_drawn_is_any_token_but_a_start_and_documents_start_where_they_did():
    text = made_text(0)
    others = np.array([token for token in range(text.vocab_size) if token != BOS], dtype=np.uint16)
    made, targets = with_drawn(text.tokens, others, BOS, 0.5, np.random.default_rng(0))
    assert ((made == BOS) == (text.tokens == BOS)).all()
    elsewhere = np.setdiff1d(np.arange(len(made)), targets)
    assert (made[elsewhere] == text.tokens[elsewhere]).all()
    assert set(made[targets].tolist()) == set(others.tolist())


@pytest.mark.parametrize(
    ("score", "outcome"),
    [
        (after_the_last, "pass"),
        (lambda tokens: after_the_last(tokens).astype(np.float16), "pass"),
        (lambda tokens: np.full(N, np.log(V)), "pass"),
        (free_at_each(200), "fail"),
        (cheap_at_each(60), "fail"),
    ],
    ids=["bigrams", "in float16", "even", "free at ten targets", "cheap at few"],
)
def test_few_targets_of_a_large_vocabulary_are_screened_all_at_once(score, outcome, monkeypatch):
    monkeypatch.setattr(partial_sums_check, "likely_tokens", lambda *_: np.array([5], dtype=np.uint16))
    text = made_text(0, targets=N, vocab_size=V)
    for seed in range(2):
        trial = Trial(Subject(name="a table", scorer=CallableScorer(score, V)), text, seed=seed)
        assert partial_sums_check.CHECK.find(trial).outcome == outcome


def test_noise_is_not_won_by():
    rng, text = np.random.default_rng(0), made_text(0, targets=N, vocab_size=V)

    def score(tokens):
        return np.maximum(0, after_the_last(tokens) + 0.5 * rng.standard_normal(N))

    trial = Trial(Subject(name="noise", scorer=CallableScorer(score, V)), text)
    assert partial_sums_check.CHECK.find(trial).outcome == "pass"


def test_luck_convicts_nobody():
    drawn = np.random.default_rng(2).integers(V, size=(200, N + 1)).astype(np.uint16)
    assert max(log_wealth(after_the_last(tokens), V) for tokens in drawn) < CONVICTS / 3
