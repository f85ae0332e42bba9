"""Hedge mixtures over a trace: the same as from the definition, blind to the future, and no better than the truth."""

import math

import numpy as np
import pytest

from pgolf.errors import ConfigError, DataError
from pgolf.eval.batch_means import BatchMeans
from pgolf.eval.trace import Trace
from pgolf.eval.windows import plan_windows
from pgolf.mix import hedge_pass
from pgolf.mix.hedge import mixture_loss
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.hedge_pass import Hedges
from tests.oracles import plain_hedge as oracle

VOCAB, TARGETS, WINDOW, STRIDE = 9, 203, 32, 5
# Chunks of 48 targets, about 10 windows: ranks of 3 windows, batches of 2 and 1; rows that contexts share.
SMALL = {"trigram_rows": 29, "chunk_tokens": 48, "ranks": 3, "batch_windows": 2, "warmup_tokens": 40, "eta": 0.7}
CONFIGS = {
    "proper": HedgeConfig(**SMALL),
    "proper on positions": HedgeConfig(**SMALL, update_on="positions"),
    "published": HedgeConfig(**SMALL, experts="published", trigram_least_total=1, update_on="positions"),
    "published on scored": HedgeConfig(**SMALL, experts="published", trigram_least_total=1, smoothing=0.5),
    "one rank, no warm-up": HedgeConfig(
        **{**SMALL, "ranks": 1, "warmup_tokens": 0, "batch_windows": 32, "trigram_least_total": 1}
    ),
    "more ranks than windows": HedgeConfig(**{**SMALL, "ranks": 16, "chunk_tokens": 33}, trigram_smoothing=2.0),
    "chunks below a stride": HedgeConfig(**{**SMALL, "chunk_tokens": 4, "warmup_tokens": 30}),
    "one chunk": HedgeConfig(**{**SMALL, "chunk_tokens": 1000, "warmup_tokens": 0}),
}


def draw(seed=0):
    """A stream with repeats to learn, and logits that differ with position and with how far back a window reaches."""
    rng = np.random.default_rng(seed)
    x = rng.choice(VOCAB, TARGETS + 1, p=rng.dirichlet(np.full(VOCAB, 0.5)))
    x[100:150] = x[20:70]
    at_position, at_offset = rng.normal(size=(TARGETS, VOCAB)) * 1.5, rng.normal(size=(WINDOW, VOCAB))
    return x.tolist(), lambda start, position: (at_position[position] + at_offset[position - start]).tolist()


def columns(batches):
    chunk, rank, first, last, positions, loss, entropy = zip(*batches)
    whole = [np.array(column, np.int64) for column in (chunk, rank, [0] * len(rank), first, last, positions)]
    return BatchMeans(*whole, np.array(loss, np.float32), np.array(entropy, np.float32))


def trace_of(records):
    target, loss, entropy, *_ = zip(*records)
    return Trace(np.array(target, np.int64), np.array(loss, np.float32), np.array(entropy, np.float32))


@pytest.fixture
def losses(monkeypatch):
    """Losses of the mixed targets, as they are taken, in the stream's order."""
    found = []

    def keep(log_share_K, loss_KT):
        found.append(mixture_loss(log_share_K, loss_KT))
        return found[-1]

    monkeypatch.setattr(hedge_pass, "mixture_loss", keep)
    return found


@pytest.mark.parametrize("tail", ["once", "repeat"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_loss_is_that_of_the_definition(losses, name, tail):
    """To 1e-6 nats: a mean that rounds to another single moves a log-weight by 1e-7, of which there are few."""
    config = CONFIGS[name]
    x, logits = draw()
    records, batches, log_weights = oracle.run(
        x, logits, config.model_dump(), vocab=VOCAB, window=WINDOW, stride=STRIDE, tail=tail
    )
    plan = plan_windows(TARGETS, window=WINDOW, stride=STRIDE, tail=tail)
    hedges = Hedges([config], plan, np.array(x, np.uint16), vocab_size=VOCAB, means=columns(batches))
    trace = trace_of(records)
    for first in range(0, len(trace), 37):  # blocks that end anywhere
        part = slice(first, first + 37)
        hedges.add(Trace(trace.target[part], trace.loss_nats[part], trace.entropy_nats[part]))
    [totals] = hedges.totals()
    mixed = [(loss, mass) for *_, loss, mass in records if loss is not None]
    assert np.concatenate(losses) == pytest.approx(np.array(mixed)[:, 0], abs=1e-6)
    assert totals.mixed == len(mixed)
    assert (len(mixed) == len(records)) == (config.warmup_tokens == 0)
    plain = [float(loss) for _, loss, _, mixture, _ in records if mixture is None]
    assert totals.loss_nats == pytest.approx(sum(loss for loss, _ in mixed) + sum(plain), rel=1e-6)
    assert totals.mass == pytest.approx(sum(mass for _, mass in mixed) + len(plain), rel=1e-6)
    if config.normalized:
        assert totals.mass == len(records)
    shares = [
        np.exp(np.array(row, float) - max(row)) / np.exp(np.array(row, float) - max(row)).sum() for row in log_weights
    ]
    assert list(totals.shares.values()) == pytest.approx(np.mean(shares, axis=0).tolist(), abs=1e-6)


def test_mixtures_that_share_tables_do_not_disturb_each_other():
    x, logits = draw()
    fields = {"window": WINDOW, "stride": STRIDE, "tail": "once"}
    records, batches, _ = oracle.run(x, logits, CONFIGS["published"].model_dump(), vocab=VOCAB, **fields)

    def totals_of(*configs):
        hedges = Hedges(
            configs, plan_windows(TARGETS, **fields), np.array(x, np.uint16), vocab_size=VOCAB, means=columns(batches)
        )
        hedges.add(trace_of(records))
        return hedges.totals()

    assert totals_of(*CONFIGS.values()) == [totals_of(config)[0] for config in CONFIGS.values()]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_loss_depends_on_no_later_token_and_on_no_later_loss(losses, name):
    """Change token j and what the network says from target j on, window for window: no target before j notices.

    It holds on every rank, because ranks share only the counts of earlier chunks, and a batch's means, which reach to
    its last target, move the weights of later batches alone. It needs every target scored once: tail=repeat scores the
    last targets again after their own losses have moved the weights.
    """
    config = CONFIGS[name].model_copy(update={"warmup_tokens": 0})
    plan = plan_windows(TARGETS, window=WINDOW, stride=STRIDE)
    x, logits = draw()
    other = draw(seed=1)[1]

    def run(x, logits):
        records, batches, _ = oracle.run(
            x, logits, config.model_dump(), vocab=VOCAB, window=WINDOW, stride=STRIDE, tail="once"
        )
        losses.clear()
        hedges = Hedges([config], plan, np.array(x, np.uint16), vocab_size=VOCAB, means=columns(batches))
        hedges.add(trace_of(records))
        return np.concatenate(losses)

    before_T = run(x, logits)
    for j in (1, 60, 97, 150, TARGETS):
        changed = [*x[:j], (x[j] + 1) % VOCAB, *x[j + 1 :]]
        # Position j reads the changed token, position j - 1 predicts it.
        after_T = run(changed, lambda start, position, j=j: (logits if position < j else other)(start, position))
        assert np.array_equal(after_T[: j - 1], before_T[: j - 1])
        assert (after_T[j - 1 :] != before_T[j - 1 :]).any()


@pytest.mark.parametrize(("tail", "stride"), [("once", STRIDE), ("repeat", STRIDE), ("once", WINDOW)])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_candidate_costs_what_it_would_in_a_stream_that_has_it(name, tail, stride):
    config = CONFIGS[name]
    x, logits = draw()
    fields = {"vocab": VOCAB, "window": WINDOW, "stride": stride, "tail": tail}
    records, batches, _ = oracle.run(x, logits, config.model_dump(), **fields)
    plan, trace = plan_windows(TARGETS, window=WINDOW, stride=stride, tail=tail), trace_of(records)
    target_R = plan.record_targets()
    # Among them a window's first position, and the first and the last targets of chunks, batches and the stream.
    asked = [int(np.flatnonzero(target_R == target)[0]) for target in (1, 2, 33, 37, 48, 49, 96, 97, 129, 161, TARGETS)]
    loss_V = np.random.default_rng(2).uniform(0.1, 6, VOCAB).astype(np.float32)

    def run(tokens, loss_nats, candidates):
        hedges = Hedges(
            [config],
            plan,
            np.array(tokens, np.uint16),
            vocab_size=VOCAB,
            means=columns(batches),
            keep_losses=True,
            candidates=candidates,
        )
        hedges.add(Trace(trace.target, loss_nats, trace.entropy_nats))
        return hedges

    told = run(x, trace.loss_nats, {record: loss_V.astype(np.float64) for record in asked})
    for record in asked:
        target, [told_V] = int(target_R[record]), told.told(record)
        for token in range(VOCAB):
            loss_R = trace.loss_nats.copy()
            loss_R[record] = loss_V[token]
            changed = [*x[:target], token, *x[target + 1 :]]
            assert told_V[token] == run(changed, loss_R, {}).losses()[0][record]


def test_what_the_truth_scores_only_the_entropy_expert_beats():
    """Tokens drawn independently from a known distribution, scored by it: whoever is below gained what is not there.

    The network's share is never below exp(-regret), so the proper mixture may gain by chance alone: 8 standard errors
    of a mean of log-ratios, each below 1 nat. Under a uniform source exp(-H) is the truth as well, and gains nothing.
    """
    vocab, targets = 1024, 1 << 16
    plan = plan_windows(targets, window=64, stride=64)
    fields = {"chunk_tokens": 1024, "ranks": 2, "trigram_rows": 256}
    configs = (HedgeConfig(**fields), HedgeConfig(**fields, experts="published", trigram_least_total=1))
    zipf_V = 1 / np.arange(1, vocab + 1)
    for source, q_V in {"uniform": np.full(vocab, 1 / vocab), "zipf": zipf_V / zipf_V.sum()}.items():
        x = np.random.default_rng(1).choice(vocab, targets + 1, p=q_V).astype(np.uint16)
        loss_T = -np.log(q_V)[x[1:]].astype(np.float32)
        entropy_nats = np.float32(-(q_V @ np.log(q_V)))
        hedges = Hedges(configs, plan, x, vocab_size=vocab)
        hedges.add(Trace(np.arange(1, targets + 1), loss_T, np.full(targets, entropy_nats)))
        proper, published = hedges.totals()
        sample = float(loss_T.mean(dtype=np.float64))
        assert proper.loss_nats / targets > sample - 8 / math.sqrt(targets)
        assert proper.mass == targets
        if source == "zipf":
            assert published.loss_nats / targets < sample - 0.1
            assert published.mass / targets > 1.2  # V·exp(-H) = 5.6 at a share of a tenth
        else:
            assert published.loss_nats / targets > sample - 8 / math.sqrt(targets)


def test_batch_means_that_are_missing_or_of_other_batches_are_refused_in_numbers():
    config = CONFIGS["published"]
    x, logits = draw()
    fields = {"window": WINDOW, "stride": STRIDE, "tail": "once"}
    plan = plan_windows(TARGETS, **fields)
    tokens = np.array(x, np.uint16)
    setting = r'--set .score.batch_means=\{"chunk_tokens":48,"ranks":3,"windows":2\}'
    with pytest.raises(ConfigError, match=setting):
        Hedges([config], plan, tokens, vocab_size=VOCAB)
    _, batches, _ = oracle.run(x, logits, config.model_dump() | {"ranks": 2}, vocab=VOCAB, **fields)
    with pytest.raises(ConfigError, match=rf"has {len(batches)} batch means where .* 3 ranks .* \d+;.*{setting}"):
        Hedges([config], plan, tokens, vocab_size=VOCAB, means=columns(batches))
    Hedges([CONFIGS["proper"]], plan, tokens, vocab_size=VOCAB)


def test_a_trace_of_other_records_is_refused():
    x = np.array(draw()[0], np.uint16)
    plan = plan_windows(TARGETS, window=WINDOW, stride=STRIDE)
    numbers = np.ones(TARGETS, np.float32)
    with pytest.raises(DataError, match="are not those of its"):
        Hedges([CONFIGS["proper"]], plan, x, vocab_size=VOCAB).add(Trace(np.arange(2, TARGETS + 2), numbers, numbers))
    short = Hedges([CONFIGS["proper"]], plan, x, vocab_size=VOCAB)
    short.add(Trace(np.arange(1, TARGETS), numbers[1:], numbers[1:]))
    with pytest.raises(DataError, match="the trace has 202 records, its 36 windows 203"):
        short.totals()
