"""The paired bootstrap over documents."""

import numpy as np
import pytest

from pgolf.errors import DataError
from pgolf.stats import document_bootstrap
from pgolf.stats.document_bootstrap import RESAMPLES, compare_documents


def text(documents=200, gain_nats=0.01, spread=0.05, seed=1):
    """Losses of a base and of a candidate that is better by gain_nats per target, and the sizes."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 500, documents)
    base = draw.normal(3, 0.4, documents) * sizes
    return base - (gain_nats + draw.normal(0, spread, documents)) * sizes, base, sizes


def test_gain_is_of_all_targets_and_the_interval_is_that_of_resampled_sums():
    candidate, base, sizes = text()
    found = compare_documents(candidate, base, sizes, margin_nats=0.005)
    assert found.gain_nats == pytest.approx((base - candidate).sum() / sizes.sum(), rel=1e-12)
    # By definition, with draws of our own: documents with replacement, then the ratio of sums.
    draw = np.random.default_rng(2)
    picks = draw.integers(0, len(sizes), (20_000, len(sizes)))
    drawn = (base - candidate)[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    # Both ends are quantiles of draws: of 10,000 and 20,000 draws each is within 4 standard errors of a quantile.
    error = 4 * np.std(drawn) * 2.7 * np.sqrt(1 / RESAMPLES + 1 / 20_000)
    assert found.low_nats == pytest.approx(np.quantile(drawn, 0.025), abs=error)
    assert found.high_nats == pytest.approx(np.quantile(drawn, 0.975), abs=error)
    share = (drawn <= 0.005).mean()
    assert found.p == pytest.approx(share, abs=4 * np.sqrt(share / RESAMPLES + 1e-8))
    assert (found.documents, found.targets) == (200, sizes.sum())


def test_the_interval_of_two_equal_runs_is_zero_and_p_says_no_gain():
    candidate, _, sizes = text()
    found = compare_documents(candidate, candidate, sizes, margin_nats=0.0)
    assert (found.gain_nats, found.low_nats, found.high_nats, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_gain_at_every_document_is_as_sure_as_the_number_of_draws_allows():
    _, base, sizes = text()
    found = compare_documents(base - 0.1 * sizes, base, sizes, margin_nats=0.005)
    assert found.p == 1 / (1 + RESAMPLES)


def test_documents_without_a_target_change_nothing():
    candidate, base, sizes = text()
    empty = [np.insert(array, 7, 0) for array in (candidate, base, sizes)]
    assert compare_documents(*empty, margin_nats=0.005) == compare_documents(candidate, base, sizes, margin_nats=0.005)


def test_many_documents_are_drawn_with_their_neighbours_and_give_the_same_interval(monkeypatch):
    candidate, base, sizes = text(documents=600)
    every = compare_documents(candidate, base, sizes, margin_nats=0.005)
    monkeypatch.setattr(document_bootstrap, "_MOST_BLOCKS", 300)
    blocks = compare_documents(candidate, base, sizes, margin_nats=0.005)
    assert blocks.gain_nats == pytest.approx(every.gain_nats, rel=1e-12)
    width = every.high_nats - every.low_nats
    # The width's own standard error is a share of 1 / sqrt(2 * 300 blocks), that is 4 %.
    assert blocks.high_nats - blocks.low_nats == pytest.approx(width, rel=0.16)


def test_too_few_documents_and_other_documents_are_refused():
    candidate, base, sizes = text(documents=9)
    with pytest.raises(DataError, match="9 documents were scored; resampling them needs 10"):
        compare_documents(candidate, base, sizes, margin_nats=0.0)
    with pytest.raises(DataError, match="cannot be paired"):
        compare_documents(candidate, base, sizes[:5], margin_nats=0.0)
