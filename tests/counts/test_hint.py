"""Hints against dictionaries, what they may know, and the stage that writes them."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pgolf.corpus.shards import stream_digest
from pgolf.counts import runs
from pgolf.counts.exact import exact_runs
from pgolf.counts.hint_config import HintConfig
from pgolf.counts.hint_stage import columns_of, make
from pgolf.counts.runs import plan_of
from pgolf.eval import blocks
from pgolf.run_options import RunOptions
from tests.oracles import plain_ngram as oracle

BOS = 1

configs = st.builds(
    lambda sizes, **fields: HintConfig(window=max(sizes), stride=min(sizes), **fields),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    orders=st.sets(st.integers(2, 17), min_size=1, max_size=4).map(lambda orders: tuple(sorted(orders))),
    tail=st.sampled_from(["once", "repeat"]),
    granularity=st.one_of(st.just("segment"), st.integers(1, 50)),
    ranks=st.integers(1, 4),
    scope=st.sampled_from(["global", "document"]),
    delay_targets=st.integers(0, 60),
)
# Documents of few different tokens, so that n-grams repeat.
streams = st.lists(st.sampled_from([0, 2, 2, 3, 3, BOS]), min_size=2, max_size=160)


def hinted(config, x, threads=1):
    """(hint, context count, hint's count), each [O, T]."""
    tokens = np.array(x, np.uint16)
    found = exact_runs(config, plan_of(config, len(x) - 1), tokens, bos_id=BOS, hints=True, threads=threads)
    pieces = [seen for run, seen in found if run.look_up]
    return [np.concatenate([getattr(piece, part) for piece in pieces], axis=1) for part in ("hint", "context", "count")]


@settings(deadline=None)  # the first example compiles the tables
@given(configs, streams, st.integers(1, 64), st.integers(1, 3))
def test_hints_are_those_of_dictionaries(config, x, run_records, threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_RECORDS", run_records)
        hint_OT, context_OT, count_OT = hinted(config, x, threads)
    for number, order in enumerate(config.orders):
        rows = oracle.seen(x, order=order, bos=BOS, **config.model_dump(exclude={"orders"}))
        assert hint_OT[number].tolist() == [best for _, best in rows]
        assert context_OT[number].tolist() == [sum(after.values()) for after, _ in rows]
        assert count_OT[number].tolist() == [max(after.values(), default=0) for after, _ in rows]


@given(configs, streams, st.data())
def test_altering_token_k_changes_no_hint_at_records_up_to_k(config, x, data):
    config = config.model_copy(update={"tail": "once", "ranks": 1})
    k = data.draw(st.integers(1, len(x) - 1))
    altered = [*x[:k], data.draw(st.sampled_from([0, BOS, 2, 9])), *x[k + 1 :]]
    for before, after in zip(hinted(config, x), hinted(config, altered), strict=True):
        assert np.array_equal(before[:, :k], after[:, :k])  # record k - 1 has target k


def test_of_equally_frequent_tokens_the_one_that_reached_the_count_first_is_the_hint():
    config = HintConfig(orders=(2,), window=1, stride=1, scope="global", delay_targets=0)
    #       after 0:  5  6  6: two   5: two too     the hint stays 6 until 5 has three
    x = [0, 5, 0, 6, 0, 6, 0, 5, 0, 5, 0]
    hint_OT, _, count_OT = hinted(config, x)
    after_zero = [i for i in range(len(x) - 1) if x[i] == 0]
    assert hint_OT[0, after_zero].tolist() == [-1, 5, 5, 6, 6]
    assert count_OT[0, after_zero].tolist() == [0, 1, 1, 2, 2]


def test_a_hint_waits_until_its_target_lies_the_delay_back():
    config = HintConfig(orders=(2,), window=1, stride=1, scope="global", delay_targets=4)
    x = [7, 8, 7, 0, 7, 0, 7]  # 8 after 7 is record 0
    hint_OT, _, _ = hinted(config, x)
    assert hint_OT[0].tolist() == [-1, -1, -1, -1, 8, -1]


def test_defaults_are_those_of_pr_511():
    config = HintConfig()
    assert config.orders == (7, 9, 13, 17)  # contexts of 6, 8, 12 and 16 tokens
    assert (config.scope, config.delay_targets, config.granularity, config.ranks) == ("document", 2048, 1, 1)


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"orders": (9, 7)}, r"write \(7, 9\)"),
        ({"orders": (18,)}, "less than or equal to 17"),
        ({"window": 32}, "targets would be left out"),
        ({"delay_targets": -1}, "greater than or equal to 0"),
        ({"granularity": 0}, "greater than or equal to 1"),
        ({"estimator": "exact"}, "Extra inputs are not permitted"),
    ],
)
def test_hints_that_cannot_be_taken_are_refused_with_advice(fields, advice):
    with pytest.raises(ValidationError, match=advice):
        HintConfig(**fields)


def test_the_stage_writes_the_hints_of_the_cut_stream(tmp_path, data_folder, val_tokens, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_RECORDS", 1000)
    monkeypatch.setattr(runs, "RUN_RECORDS", 300)
    config = HintConfig(orders=(2, 4), window=64, stride=16, delay_targets=100)
    reports = []
    made = make(config, {"data": data_folder}, tmp_path, RunOptions(report=reports.append))
    x = val_tokens[: 46 * 64 + 1]
    with pa.ipc.open_file(tmp_path / "hints.arrow") as file:
        schema, table = file.schema, file.read_all()
        assert [file.get_batch(i).num_rows for i in range(file.num_record_batches)] == [1000, 1000, 944]
    assert [(field.name, field.type) for field in schema] == columns_of((2, 4))
    assert HintConfig.model_validate_json(schema.metadata[b"pgolf.hint_config"]) == config
    assert schema.metadata[b"pgolf.stream"].decode() == stream_digest(x)
    # What comes later changes nothing, and the oracle's time grows with the square.
    first = table.slice(0, 700)
    for order in config.orders:
        rows = oracle.seen(x[:701].tolist(), order=order, bos=BOS, **config.model_dump(exclude={"orders"}))
        assert first[f"hint_{order}"].to_pylist() == [best for _, best in rows]
        assert first[f"context_{order}"].to_pylist() == [sum(after.values()) for after, _ in rows]
        assert first[f"count_{order}"].to_pylist() == [max(after.values(), default=0) for after, _ in rows]
    assert table.num_rows == 46 * 64
    assert made.facts["hinted"] == int((np.array(table["hint_2"]) >= 0).sum())
    assert (reports[-1].stage, reports[-1].done, reports[-1].total) == ("hint", 46 * 64, 46 * 64)


def test_the_stage_writes_the_same_bytes_again_with_other_threads(tmp_path, data_folder):
    config = HintConfig(orders=(3, 5), window=64, stride=16, delay_targets=7)
    for threads in (1, 3):
        (tmp_path / str(threads)).mkdir()
        make(config, {"data": data_folder}, tmp_path / str(threads), RunOptions(threads=threads))
    assert (tmp_path / "1/hints.arrow").read_bytes() == (tmp_path / "3/hints.arrow").read_bytes()


def test_the_config_travels_as_json():
    config = HintConfig(orders=(3,), granularity="segment")
    assert HintConfig.model_validate_json(json.dumps(config.model_dump(mode="json"))) == config
