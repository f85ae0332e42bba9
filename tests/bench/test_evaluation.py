"""Numbers on real text: the bigram base, honest mixtures against a plain computation, legacy ones, and the page."""

import math
from collections import Counter

import numpy as np
import pytest

from bench import evaluation
from bench.evaluation import BUCKETS, PAGE, RULES, bigram_distributions, measure, number, row
from pgolf.corpus.shards import read_shard

PUBLISHED = [rule.name for rule in RULES if rule.name.startswith("#")]


@pytest.fixture(scope="module")
def base(real_data, tmp_path_factory):
    """Every rule over the bigram base, through the stages."""
    (bigram,) = measure(real_data, tmp_path_factory.mktemp("evaluation") / "store")
    return bigram


@pytest.fixture(scope="module")
def tokens(real_data):
    return read_shard(real_data / "fineweb" / "fineweb_val_prefix_sp1024.bin")


def scores_of(base, name):
    return next(scores for scores in base.rules if scores.rule.name == name)


def test_the_bigram_base_gives_the_prefix_its_known_length(base, real_data):
    assert (base.neural["targets"], base.neural["bytes"]) == (399_999, 957_770)
    assert number(base.neural, "bpb") == pytest.approx(2.5302, abs=5e-5)
    assert number(base.neural, "loss_nats") / math.log(2) == pytest.approx(6.0585, abs=5e-5)  # bits per token
    assert bigram_distributions(real_data).sum(axis=1) == pytest.approx(np.ones(1024), abs=1e-12)


def plain_counts(tokens, orders):
    """Per target and order (context count, n-gram count) in the segments of 64 before its own, by dictionaries."""
    text, targets = tokens.astype("<u2").tobytes(), len(tokens) - 1
    contexts, ngrams = ({order: Counter() for order in orders} for _ in range(2))
    found = {order: np.zeros((targets, 2)) for order in orders}
    for first in range(1, targets + 1, 64):
        segment = range(first, min(first + 64, targets + 1))
        for order in orders:
            seen = [(j, text[2 * (j - order + 1) : 2 * j], text[2 * (j - order + 1) : 2 * j + 2]) for j in segment]
            seen = [item for item in seen if item[0] >= order - 1]
            for j, context, ngram in seen:
                found[order][j - 1] = contexts[order][context], ngrams[order][ngram]
            contexts[order].update(context for _, context, _ in seen)
            ngrams[order].update(ngram for _, _, ngram in seen)
    return found


@pytest.mark.parametrize(("name", "orders", "span"), [(PUBLISHED[0], (7,), None), (PUBLISHED[1], (2, 3, 4, 5), 0.35)])
def test_honest_mixtures_are_what_a_plain_computation_gives(base, real_data, tokens, name, orders, span):
    p_VV = bigram_distributions(real_data)
    x, y = tokens[:-1].astype(int), tokens[1:].astype(int)
    p_T = p_VV[x, y]
    alpha_T = np.full(len(x), 0.4)
    if span is not None:
        entropy_T = -(p_VV * np.log(p_VV)).sum(axis=1)[x]
        alpha_T = 0.05 + span / (1 + np.exp(-2 * (entropy_T - 4)))
    mixed_T, left = p_T.copy(), np.ones(len(x), bool)
    counts = plain_counts(tokens, orders)
    for order in reversed(orders):
        context_T, ngram_T = counts[order].T
        here = left & (context_T >= 2)
        mixed_T[here] = (1 - alpha_T[here]) * p_T[here] + alpha_T[here] * ngram_T[here] / context_T[here]
        left &= ~here
    # The trace holds loss and entropy in float32: 6e-8 of each, and so of their mean.
    assert number(scores_of(base, name).honest, "loss_nats") == pytest.approx(-np.log(mixed_T).mean(), rel=1e-7)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rules_score_below_their_honest_twins_by_handing_out_mass(base, name):
    scores = scores_of(base, name)
    assert scores.honest["normalized"] is True
    assert scores.honest["mass_mean"] == 1.0
    by_load = [scores.hashed[buckets] for buckets in sorted(BUCKETS, reverse=True)]
    assert all(cell["normalized"] is False for cell in by_load)
    bpb = [number(scores.honest, "bpb"), *(number(cell, "bpb") for cell in by_load)]
    mass = [1.0, *(number(cell, "mass_mean") for cell in by_load)]
    assert bpb == sorted(bpb, reverse=True)
    assert mass == sorted(mass)
    assert len(set(bpb)) == len(set(mass)) == 1 + len(BUCKETS)


def test_a_bayes_mixture_of_all_that_its_name_says_costs_at_most_ln_k_nats_over_its_best_member(base):
    bayes = scores_of(base, "Bayes over the base and 120 such mixtures").honest
    assert (bayes["members"], bayes["normalized"]) == (121, True)
    # Of the page's rows these are members: no weight of theirs is chosen by looking.
    members = ["#715: order 7, alpha 0.4", "#761: orders 2 to 7, adaptive", "orders 2 to 7, backoff, alpha 0.4"]
    best_nats = min(number(scores_of(base, name).honest, "loss_sum_nats") for name in members)
    assert number(bayes, "loss_sum_nats") <= best_nats + math.log(121)


def test_the_page_has_the_numbers_the_code_gives(base):
    page = PAGE.read_text()
    block = page[page.index(evaluation.BEGIN) : page.index(evaluation.END)]
    lines = block.partition("Over a small network")[0].splitlines()
    own_bpb = number(base.neural, "bpb")
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| mixture")]
    assert rows == [row(scores, own_bpb) for scores in base.rules]


def test_without_data_it_says_what_to_name(tmp_path, capsys):
    assert evaluation.main(["--data", str(tmp_path / "none")]) == 2
    assert "PGOLF_TEST_DATA" in capsys.readouterr().err
