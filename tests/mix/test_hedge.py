"""The Hedge mixture at fixed weights and counts: what it sums to, and what its entropy expert takes for nothing."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from pgolf.errors import ConfigError
from pgolf.mix.config import MixConfig
from pgolf.mix.hedge import initial_log_weights, log_shares, mixture_loss, mixture_mass, moved_log_weights
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.hedge_tables import HedgeTables

VOCAB = 24
PUBLISHED = HedgeConfig(experts="published", trigram_least_total=1, trigram_rows=64)
PROPER = HedgeConfig(trigram_rows=64)
LEAKY = HedgeConfig(trigram_least_total=1, trigram_rows=64)


def zipf(vocab):
    q_V = 1 / np.arange(1, vocab + 1)
    return q_V / q_V.sum()


def test_the_network_begins_with_two_thirds_of_the_weight():
    """Log-weights (2, 0, 0, 0, 0), as published."""
    share_K = np.exp(log_shares(initial_log_weights(PUBLISHED)))
    assert np.round(share_K, 4).tolist() == [0.6488, 0.0878, 0.0878, 0.0878, 0.0878]
    assert len(initial_log_weights(PROPER)) == 4


@pytest.mark.parametrize("counted", [0, 30, 3000])
@pytest.mark.parametrize("config", [PUBLISHED, PROPER, LEAKY], ids=["published", "proper", "leaky"])
def test_the_mass_is_the_sum_over_the_whole_vocabulary(config, counted):
    """Every token of the vocabulary scored in every context, whose rows are full, empty (3,000 tokens fill all) or new.

    A sum of 24 numbers whose rounding errors are 1e-16 each.
    """
    rng = np.random.default_rng(3)
    tables = HedgeTables(vocab_size=VOCAB, trigram_rows=64)
    tables.add(rng.integers(0, VOCAB, counted).astype(np.uint16))
    network_loss_VT = -np.log(rng.dirichlet(np.full(VOCAB, 0.3), VOCAB * VOCAB).T + 1e-9)
    network_loss_VT += np.log(np.exp(-network_loss_VT).sum(axis=0))
    entropy_T = (np.exp(-network_loss_VT) * network_loss_VT).sum(axis=0).astype(np.float32)
    before_T, last_T = np.divmod(np.arange(VOCAB * VOCAB, dtype=np.uint16), np.uint16(VOCAB))
    log_share_K = log_shares(rng.normal(size=len(initial_log_weights(config))).astype(np.float32))
    total_T = np.zeros(VOCAB * VOCAB)
    for token in range(VOCAB):
        ngrams = tables.losses(before_T, last_T, np.full(VOCAB * VOCAB, token, np.uint16), config)
        losses = [network_loss_VT[token], *ngrams.loss_nats, entropy_T][: len(log_share_K)]
        total_T += np.exp(-mixture_loss(log_share_K, np.array(losses, np.float64)))
    mass_T = mixture_mass(log_share_K, ngrams.empty, entropy_T, config, VOCAB)
    assert total_T == pytest.approx(mass_T, rel=1e-12)
    assert ngrams.empty.any() == (counted < 3000)
    if config.normalized:
        assert (mass_T == 1.0).all()
    elif config is LEAKY:
        assert set(mass_T[~ngrams.empty]) <= {1.0}
        assert (mass_T[ngrams.empty] < 1.0).all()


def test_an_empty_row_counted_as_one_token_keeps_0_911_of_its_mass():
    mass_T = mixture_mass(np.array([-99, -99, -99, 0.0]), np.array([True]), np.ones(1, np.float32), LEAKY, 1024)
    assert mass_T == pytest.approx([0.911], abs=5e-4)


@pytest.mark.parametrize(("share", "published_nats"), [(0.12, 4.934), (0.5, 4.753), (0.9, 4.965)])
def test_the_entropy_expert_caps_losses_it_has_not_predicted(share, published_nats):
    """Zipf over 1,024 scored by itself, 5.206 nats: whatever a mixture with exp(-H) saves is not a code's length."""
    q_V = zipf(1024)
    loss_V = -np.log(q_V)
    entropy_nats = float(q_V @ loss_V)
    assert entropy_nats == pytest.approx(5.2060, abs=5e-5)
    mixed_V = mixture_loss(np.log([1 - share, share]), np.array([loss_V, np.full(1024, entropy_nats)]))
    # The published are means of a sample, whose entropy is 0.0003 below.
    assert q_V @ mixed_V == pytest.approx(published_nats, abs=1e-3)
    assert mixed_V.max() <= entropy_nats - math.log(share)


def test_the_mixture_is_at_most_as_bad_as_any_expert_at_its_share():
    """And stays finite where every probability underflows."""
    loss_KT = np.random.default_rng(4).exponential(400, (5, 2000))
    log_share_K = log_shares(np.array([2, 0, -700, -30, 1], np.float32))
    mixed_T = mixture_loss(log_share_K, loss_KT)
    bound_T = (loss_KT - log_share_K[:, None]).min(axis=0)
    assert (mixed_T <= bound_T).all()
    assert (mixed_T >= bound_T - math.log(5)).all()


def test_log_weights_drift_in_single_precision_and_are_not_normalised():
    log_weight_K = initial_log_weights(PUBLISHED)
    loss_K = np.array([2.0, 5.0, 4.0, 3.5, 2.0])
    for _ in range(3784):
        log_weight_K = moved_log_weights(log_weight_K, loss_K, 0.1)
    assert log_weight_K.dtype == np.float32
    # 3,784 roundings of at most half an ulp of the drifted value.
    for log_weight, start, loss in zip(log_weight_K, (2, 0, 0, 0, 0), loss_K):
        drifted = start - 0.1 * 3784 * loss
        assert log_weight == pytest.approx(drifted, abs=3784 * float(np.spacing(np.float32(-drifted))) / 2)


@pytest.mark.parametrize("vocab", [300, 65_536])
def test_bigrams_are_counted_as_one_by_one_however_large_the_vocabulary(vocab):
    """Over many growths of their table; pairs of tokens from both ends of the vocabulary."""
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, 150, 20_000)
    tokens = np.where(tokens % 2, tokens, vocab - 1 - tokens).astype(np.uint16)
    tables, config = HedgeTables(vocab_size=vocab, trigram_rows=1), PROPER
    for first in range(0, len(tokens) - 1, 777):
        tables.add(tokens[first : first + 778])
    seen = Counter(zip(tokens[:-1].tolist(), tokens[1:].tolist()))
    total = Counter(tokens[:-1].tolist())
    asked = np.array([*seen, *itertools.product((0, 7, vocab - 1, vocab - 2), repeat=2)], np.uint16)
    assert len(seen) > 10_000
    found = tables.losses(np.zeros(len(asked), np.uint16), asked[:, 0].copy(), asked[:, 1].copy(), config)
    expected = [
        (seen[pair] + config.smoothing) / (total[pair[0]] + config.smoothing * vocab)
        for pair in map(tuple, asked.tolist())
    ]
    assert np.exp(-found.loss_nats[1]) == pytest.approx(expected, rel=1e-12)


def test_tables_too_large_to_hold_are_refused_in_numbers():
    with pytest.raises(ConfigError, match=r"33,554,432 trigram rows over 1,024 .* give the hedge trigram_rows=\d+ at"):
        HedgeTables(vocab_size=1024, trigram_rows=1 << 25)


def test_a_hedge_named_twice_is_refused():
    with pytest.raises(ValueError, match="hedges names a value twice"):
        MixConfig(hedges=(HedgeConfig(), HedgeConfig()))
