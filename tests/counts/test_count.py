"""The hashed and the exact tables, and the stage that writes what they say."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgolf.corpus.shards import stream_digest
from pgolf.counts import count_stage as count_stage
from pgolf.counts import runs
from pgolf.counts.candidates import candidate_counts
from pgolf.counts.config import CountConfig
from pgolf.counts.count_stage import CountFile, column_names, iterate_counts, make, open_counts
from pgolf.counts.exact import parts_of
from pgolf.counts.hashed import HashedTable, multipliers
from pgolf.counts.runs import plan_of
from pgolf.errors import ConfigError, DataError
from pgolf.eval import blocks
from pgolf.run_options import RunOptions
from tests.oracles import plain_ngram as oracle

VOCAB = 7  # matters to the sampled masses alone


def counted(config, x, **options):
    tokens = np.array(x, np.uint16)
    pieces = list(iterate_counts(config, plan_of(config, len(x) - 1), tokens, vocab_size=VOCAB, **options))
    return tuple(np.concatenate([getattr(piece, side) for piece in pieces], axis=1) for side in ("context", "full"))


# Few different tokens, so that n-grams repeat; the largest id too, whose bits reach furthest.
streams = st.lists(st.sampled_from([0, 1, 2, 3, 1023, 65535]), min_size=2, max_size=160)

configs = st.builds(
    lambda sizes, **fields: CountConfig(window=max(sizes), stride=min(sizes), **fields),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    estimator=st.just("exact"),
    orders=st.sets(st.integers(2, 17), min_size=1, max_size=4).map(lambda orders: tuple(sorted(orders))),
    tail=st.sampled_from(["once", "repeat"]),
    granularity=st.one_of(st.just("segment"), st.integers(1, 50)),
    ranks=st.integers(1, 8),
)
hashed_configs = st.builds(
    lambda config, **fields: CountConfig(**{**config.model_dump(), "estimator": "hashed", **fields}),
    configs,
    buckets=st.sampled_from([2, 16, 1 << 12]),  # few, so that keys collide
    primes=st.sampled_from(["pr715", "pr761", "pr792"]),
)


@settings(deadline=None)  # the first example compiles the tables
@given(st.one_of(configs, hashed_configs), streams)
def test_counts_are_those_of_dictionaries(config, x):
    context_OT, full_OT = counted(config, x)
    for number, order in enumerate(config.orders):
        fields = config.model_dump(exclude={"orders"})
        expected = oracle.count(x, order=order, **fields)
        assert list(zip(context_OT[number], full_OT[number], strict=True)) == expected


document_configs = st.builds(
    lambda config, **fields: CountConfig(**{**config.model_dump(), **fields}),
    configs,
    scope=st.sampled_from(["global", "document"]),
    delay_targets=st.integers(0, 60),
)
# Documents of a few tokens that start with BOS.
BOS = 1
document_streams = st.lists(
    st.lists(st.sampled_from([0, 2, 3]), max_size=30).map(lambda document: [BOS, *document]), min_size=2, max_size=9
).map(lambda documents: [token for document in documents for token in document])


@given(document_configs, document_streams, st.integers(1, 64), st.integers(1, 20), st.integers(1, 4))
def test_counts_of_documents_and_with_a_delay_are_those_of_their_definition(
    config, x, run_records, history_records, threads
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_RECORDS", run_records)
        patch.setattr(runs, "DOCUMENTS_RECORDS", history_records)
        context_OT, full_OT = counted(config, x, bos_id=BOS, threads=threads)
    fields = config.model_dump(exclude={"orders", "estimator", "buckets", "primes"})
    for number, order in enumerate(config.orders):
        after = [after for after, _ in oracle.seen(x, order=order, bos=BOS, **fields)]
        assert context_OT[number].tolist() == [sum(tokens.values()) for tokens in after]
        targets = [j for rank in oracle.scored_segments(len(x) - 1, **windows_of(config)) for s in rank for j in s]
        assert full_OT[number].tolist() == [tokens[x[j]] for tokens, j in zip(after, targets, strict=True)]


@pytest.mark.parametrize("tail", ["once", "repeat"])
def test_counts_of_documents_do_not_depend_on_where_tables_are_emptied(monkeypatch, tail):
    x = np.random.default_rng(8).integers(1, 5, 3000)  # 1 is BOS: documents of 4 tokens on average
    config = CountConfig(estimator="exact", orders=(2, 3), window=64, stride=16, ranks=2, scope="document", tail=tail)
    once = counted(config, x, bos_id=BOS)
    monkeypatch.setattr(runs, "DOCUMENTS_RECORDS", 1)
    plan = plan_of(config, len(x) - 1)
    assert len(runs.histories(plan, np.flatnonzero(x == BOS))) > 500
    for often, expected in zip(counted(config, x, bos_id=BOS), once, strict=True):
        assert np.array_equal(often, expected)


def windows_of(config):
    return {name: getattr(config, name) for name in ("window", "stride", "ranks", "tail")}


@given(document_configs, document_streams, st.data())
def test_altering_a_target_leaves_the_context_counts_up_to_it_unchanged(config, x, data):
    """Even where the target becomes a document's first token or is one no longer: the context alone decides."""
    config = config.model_copy(update={"tail": "once", "ranks": 1})
    j = data.draw(st.integers(1, len(x) - 1))
    altered = [*x[:j], data.draw(st.sampled_from([0, BOS, 2, 9])), *x[j + 1 :]]
    for before, after in zip(*(counted(config, stream, bos_id=BOS)[0] for stream in (x, altered)), strict=True):
        assert np.array_equal(before[:j], after[:j])


# Short contexts over few tokens: nearly every record has seen its own.
short = {"orders": st.sampled_from([(2,), (2, 3), (3, 4)]), "granularity": st.sampled_from(["segment", 1, 5])}
short_configs = st.one_of(
    st.builds(
        lambda config, **fields: config.model_copy(update=fields),
        configs,
        scope=st.sampled_from(["global", "document"]),
        delay_targets=st.sampled_from([0, 1, 20]),
        ranks=st.sampled_from([1, 3]),
        **short,
    ),
    st.builds(lambda config, **fields: config.model_copy(update=fields), hashed_configs, **short),
)


@settings(deadline=None, max_examples=40)
@given(
    short_configs,
    st.lists(st.integers(0, 3), min_size=40, max_size=120),
    st.sampled_from([2, 1 << 16]),
    st.data(),
)
def test_every_candidate_is_counted_as_in_a_stream_that_has_it(config, x, run_records, data):
    plan = plan_of(config, len(x) - 1)
    target = data.draw(st.integers(len(x) // 3, len(x) - 1))
    # A repeated target comes a second time behind itself.
    record = int(np.flatnonzero(plan.record_targets() == target)[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_RECORDS", run_records)
        found = candidate_counts(config, plan, np.array(x, np.uint16), record, vocab_size=VOCAB, bos_id=BOS)
        for token in range(VOCAB):
            context_OT, full_OT = counted(config, [*x[:target], token, *x[target + 1 :]], bos_id=BOS)
            assert found[:, token].tolist() == [*context_OT[:, record], *full_OT[:, record]]


# A run of two records that ends among the targets which come again.
REPEATS = CountConfig(
    estimator="exact", orders=(2, 3), window=6, stride=3, tail="repeat", granularity=1, ranks=1, scope="global"
)


@settings(deadline=None)
@example(REPEATS, [0, 0, 1, 0, 1, 0, 0, 1, 1, 0], 2)
@given(st.one_of(configs, hashed_configs), streams, st.integers(1, 64))
def test_a_segment_longer_than_a_run_counts_like_a_short_one(config, x, run_records):
    whole = counted(config, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_RECORDS", run_records)
        for pieced, expected in zip(counted(config, x), whole, strict=True):
            assert np.array_equal(pieced, expected)


@given(configs, streams)
def test_exact_counts_after_a_context_sum_to_its_count(config, x):
    """At token granularity, full counts of the first k targets replay the table: their sum by context is its count."""
    config = config.model_copy(update={"granularity": 1, "ranks": 1, "tail": "once"})
    context_OT, full_OT = counted(config, x)
    for number, order in enumerate(config.orders):
        last_seen = {}  # (context, token) -> its full count so far, itself included
        for j in range(order - 1, len(x)):
            context, full = oracle.exact_keys(x, j, order)
            seen = [n for (other, _), n in last_seen.items() if other == context]
            assert context_OT[number, j - 1] == sum(seen)
            last_seen[context, full] = int(full_OT[number, j - 1]) + 1


@given(st.sets(st.integers(2, 17), min_size=1))
def test_every_ngram_has_two_parts_that_are_known_and_an_orders_are_its_context_and_one_token(orders):
    parts = parts_of(tuple(orders))
    assert list(parts) == sorted(parts)
    for length, (left, right) in parts.items():
        assert left + right == length
        assert length == 1 or {left, right} <= parts.keys()
    assert all(parts[order] == (order - 1, 1) for order in orders)


def test_exact_tables_hold_a_stream_in_which_every_ngram_is_new():
    """The most entries that can come: each table as full as it gets."""
    x = np.random.default_rng(9).permutation(20_001)
    config = CountConfig(estimator="exact", orders=(2, 3, 7), ranks=2, window=256, stride=64)
    for counts_OT in counted(config, x):
        assert not counts_OT.any()


def test_exact_counts_of_a_long_stream_are_those_of_dictionaries():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 30, 40_001)
    config = CountConfig(estimator="exact", orders=(3, 5), ranks=1, window=256, stride=64)
    context_OT, full_OT = counted(config, x)
    for number, order in enumerate(config.orders):
        expected = oracle.count(x, order=order, **config.model_dump(exclude={"orders"}))
        assert list(zip(context_OT[number], full_OT[number], strict=True)) == expected


@settings(deadline=None)
@given(st.one_of(configs, hashed_configs), streams, st.integers(1, 64))
def test_sampled_masses_are_sums_over_the_vocabulary(config, x, run_records):
    """Up to 4,096 records every one is sampled."""
    tokens = np.array(x, np.uint16) % VOCAB
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_RECORDS", run_records)
        pieces = list(iterate_counts(config, plan_of(config, len(x) - 1), tokens, vocab_size=VOCAB))
    assert [len(piece.sample) for piece in pieces] == [piece.context.shape[1] for piece in pieces]
    mass_OT = np.concatenate([piece.mass for piece in pieces], axis=1)
    for number, order in enumerate(config.orders):
        fields = config.model_dump(exclude={"orders"})
        expected = oracle.masses(tokens, order=order, vocab_size=VOCAB, **fields)
        # Sums of up to 7 integers over one count: one rounding.
        assert mass_OT[number] == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("load", "mass"), [(0.5, 234), (1.0, 414), (1.5, 543), (1.848, 610)])
def test_fresh_contexts_are_handed_the_published_mass(load, mass):
    """The description's table: sum of r over 1,024 tokens given the gate, at `load` n-grams per bucket."""
    buckets, probes = 1 << 16, 400
    rng = np.random.default_rng(8)
    filled = round(load * buckets)
    tokens = rng.integers(0, 1024, filled + probes + 6).astype(np.uint16)
    table = HashedTable(7, buckets=buckets, primes="pr761", vocab_size=1024)
    nothing = {"sample_M": np.empty(0, np.int64), "mass_M": np.empty(0)}
    target_T = np.arange(6, 6 + filled)
    counts = {"context_T": np.zeros(filled, np.uint32), "full_T": np.zeros(filled, np.uint32)}
    table.advance(tokens, target_T, np.array([filled]), look_up=False, add=True, **counts, **nothing)
    mass_M = np.zeros(probes)
    counts = {name: np.zeros(probes, np.uint32) for name in counts}
    table.advance(
        tokens,
        np.arange(6 + filled, 6 + filled + probes),
        np.array([probes]),
        look_up=True,
        add=False,
        **counts,
        sample_M=np.arange(probes),
        mass_M=mass_M,
    )
    gated_M = mass_M[counts["context_T"] >= 2]
    # Four standard errors of the mean, and half a unit of the printed value.
    assert abs(gated_M.mean() - mass) < 4 * gated_M.std() / math.sqrt(len(gated_M)) + 0.5


def test_counts_do_not_depend_on_threads():
    x = np.random.default_rng(4).integers(0, 50, 5001)
    for estimator in ("hashed", "exact"):
        config = CountConfig(estimator=estimator, window=256, stride=64)
        for one, four in zip(counted(config, x, threads=1), counted(config, x, threads=4), strict=True):
            assert np.array_equal(one, four)


def test_multipliers_are_the_published_primes_in_a_circle():
    # #715's order 7: position 5 uses the first prime again and the target the second (spec of PR #715).
    assert multipliers(7, "pr715").tolist() == [36313, 27191, 51647, 81929, 131071, 36313, 27191]
    assert multipliers(7, "pr761").tolist() == [36313, 27191, 51647, 81929, 131071, 175447, 209591]
    for order in range(2, 6):
        assert np.array_equal(multipliers(order, "pr792"), multipliers(order, "pr761"))


def test_gate_opens_on_unseen_contexts_as_often_as_poisson_says():
    """Uniform tokens, order 7: no context repeats, so a count of 2 or more is two collisions in one bucket."""
    buckets = 1 << 14
    load = 1.5
    x = np.random.default_rng(5).integers(0, 1024, round(load * buckets) + 6 + 1)
    config = CountConfig(orders=(7,), buckets=buckets, ranks=1, granularity=1)
    context_OT, _ = counted(config, x)
    at_end = context_OT[0, -2000:]
    expected = 1 - math.exp(-load) * (1 + load)
    # 2000 draws without replacement from 16,384 buckets: five standard deviations, and 4 % change of load on the way.
    assert abs(np.mean(at_end >= 2) - expected) < 5 * math.sqrt(expected * (1 - expected) / 2000) + 0.04


@pytest.mark.parametrize("estimator", ["hashed", "exact"])
def test_the_stage_writes_the_counts_of_the_cut_stream(tmp_path, data_folder, val_tokens, monkeypatch, estimator):
    monkeypatch.setattr(blocks, "BLOCK_RECORDS", 1000)
    monkeypatch.setattr(runs, "RUN_RECORDS", 300)
    config = CountConfig(estimator=estimator, orders=(2, 4), window=64, stride=16, ranks=3, tail="repeat")
    reports = []
    made = make(config, {"data": data_folder}, tmp_path, RunOptions(report=reports.append))
    file = open_counts(tmp_path / "counts.arrow")
    assert file.config == config
    read = list(file.blocks())
    x = val_tokens[: 46 * 64 + 1]
    assert file.records == made.facts["records"] == 46 * 64 + 3 * 16
    assert [len(block[0]) for block in read] == [1000, 1000, file.records - 2000]
    written = [np.concatenate(columns) for columns in zip(*read, strict=True)]
    assert column_names(config.orders) == ["context_2", "context_4", "full_2", "full_4"]
    for number, order in enumerate(config.orders):
        expected = oracle.count(x, order=order, **config.model_dump(exclude={"orders"}))
        assert list(zip(written[number], written[number + 2], strict=True)) == expected
    assert (reports[-1].done, reports[-1].total) == (file.records, file.records)


def test_counts_say_which_stream_they_are_of(tmp_path, data_folder, val_tokens):
    make(CountConfig(window=64, stride=16), {"data": data_folder}, tmp_path, RunOptions())
    with pa.ipc.open_file(tmp_path / "counts.arrow") as file:
        assert file.schema.metadata[b"pgolf.stream"].decode() == stream_digest(val_tokens[: 46 * 64 + 1])


def test_the_stage_refuses_hashed_counts_of_documents(tmp_path, data_folder):
    config = CountConfig(window=64, stride=16, scope="document")
    with pytest.raises(ConfigError, match="belongs to exact counts"):
        make(config, {"data": data_folder}, tmp_path, RunOptions())
    assert list(tmp_path.glob("*.arrow")) == []


def test_the_stage_writes_the_same_bytes_again_with_other_threads(tmp_path, data_folder):
    config = CountConfig(window=64, stride=16, buckets=1 << 12)
    for threads in (1, 3):
        (tmp_path / str(threads)).mkdir()
        make(config, {"data": data_folder}, tmp_path / str(threads), RunOptions(threads=threads))
    assert (tmp_path / "1/counts.arrow").read_bytes() == (tmp_path / "3/counts.arrow").read_bytes()


def test_a_file_that_is_no_counts_is_refused(tmp_path):
    path = tmp_path / "counts.arrow"
    path.write_bytes(b"ARROW1")
    with pytest.raises(DataError, match="cannot be read as n-gram counts"):
        open_counts(path)
    with pa.ipc.new_file(path, pa.schema([("context_2", pa.uint32())])):
        pass
    with pytest.raises(DataError, match="does not say how it was counted"):
        open_counts(path)
    metadata = {count_stage.CONFIG_KEY: CountConfig(orders=(2,)).model_dump_json()}
    with pa.ipc.new_file(path, pa.schema([("context_2", pa.uint32())], metadata=metadata)):
        pass
    with pytest.raises(DataError, match=r"orders \(2,\) need others"):
        open_counts(path)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (b"no JSON", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[2, 3]", "Input should be an object"),
        (b'{"orders": [2], "table": "new"}', "table: Extra inputs are not permitted"),
        (b'{"orders": "two"}', "orders: Input should be a valid array"),
        (b'{"orders": [3, 2]}', r"orders: orders must rise strictly.*write \(2, 3\)"),
        (b'{"orders": [2], "estimator": "sketch"}', "estimator: Input should be 'hashed' or 'exact'"),
        (b'{"orders": [2], "stride": 99, "window": 9}', "stride 99 is longer than window 9"),
    ],
)
def test_counts_of_another_version_are_refused_with_their_file_and_what_to_do(tmp_path, described, said):
    path = tmp_path / "counts.arrow"
    fields = [(name, pa.uint32()) for name in column_names((2,))]
    with pa.ipc.new_file(path, pa.schema(fields, metadata={count_stage.CONFIG_KEY: described})):
        pass
    with pytest.raises(DataError, match=rf"counts.arrow says how it was counted .* cannot read: .*{said}.*count again"):
        open_counts(path)


def test_counts_of_another_type_are_refused(tmp_path):
    path = tmp_path / "counts.arrow"
    fields = [(name, pa.int64()) for name in column_names((2,))]
    metadata = {count_stage.CONFIG_KEY: CountConfig(orders=(2,)).model_dump_json()}
    with pa.ipc.new_file(path, pa.schema(fields, metadata=metadata)):
        pass
    with pytest.raises(
        DataError, match=r"columns context_2 int64, full_2 int64; orders \(2,\) need others; count again"
    ):
        open_counts(path)


def test_an_empty_file_of_counts_is_a_file_of_no_records(tmp_path):
    path = tmp_path / "counts.arrow"
    config = CountConfig(orders=(2,))
    fields = [(name, pa.uint32()) for name in column_names(config.orders)]
    with pa.ipc.new_file(path, pa.schema(fields, metadata={count_stage.CONFIG_KEY: config.model_dump_json()})):
        pass
    assert isinstance(open_counts(path), CountFile)
    assert open_counts(path).records == 0
