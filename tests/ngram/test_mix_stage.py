"""The mix stage from files to rows."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.errors import ConfigError, DataError
from pgolf.eval import trace as trace_module
from pgolf.eval.trace import Trace, write_trace
from pgolf.eval.windows import plan_windows
from pgolf.ngram import blocks, count, mix, mix_stage
from pgolf.ngram.config import CountConfig
from pgolf.ngram.hedge_config import HedgeConfig
from pgolf.ngram.hedge_pass import Hedges
from pgolf.ngram.mass import read_mass
from pgolf.ngram.mix_config import MixConfig
from pgolf.run import RunOptions
from tests.ngram.conftest import VOCAB_SIZE
from tests.oracles import ngram as oracle

WINDOW, STRIDE, RANKS = 64, 16, 2
GRID = MixConfig(alphas=(0.0, 0.4, 1.0), orders=(2, 4))
SMALL = {"trigram_rows": 64, "chunk_tokens": 256, "warmup_tokens": 200, "batch_windows": 4}
HEDGES = (
    HedgeConfig(**SMALL),
    HedgeConfig(**SMALL, eta=0.3),
    HedgeConfig(**SMALL, experts="published", trigram_least_total=1),
)


@pytest.fixture(params=["once", "repeat"])
def tail(request):
    return request.param


@pytest.fixture
def inputs(tmp_path, data_folder, val_tokens, tail):
    """Trace of a made-up network and two count stages over the same windows."""
    plan = plan_windows((3000 - 1) // WINDOW * WINDOW, window=WINDOW, stride=STRIDE, ranks=RANKS, tail=tail)
    rng = np.random.default_rng(7)
    target = plan.record_targets()
    roles = {"data": data_folder, "trace": tmp_path / "trace"}
    roles["trace"].mkdir()
    write_trace(
        roles["trace"] / "trace.arrow",
        [
            Trace(
                target,
                rng.exponential(2.5, len(target)).astype(np.float32),
                rng.uniform(0, 7, len(target)).astype(np.float32),
            )
        ],
        plan=plan,
    )
    layout = {"window": WINDOW, "stride": STRIDE, "ranks": RANKS, "tail": tail, "orders": (2, 3, 4)}
    for name, fields in (("hashed", {"estimator": "hashed", "buckets": 1 << 10}), ("exact", {"estimator": "exact"})):
        roles[f"counts.{name}"] = tmp_path / name
        roles[f"counts.{name}"].mkdir()
        count.make(CountConfig(**layout, **fields), {"data": data_folder}, tmp_path / name, RunOptions())
    return roles


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def rows_of(out):
    return pq.read_table(out / "cells.parquet").to_pylist()


def test_rows_are_the_cells_evaluated_from_the_data(inputs, out, val_tokens, toy_model, tail):
    made = mix_stage.make(GRID, inputs, out, RunOptions())
    rows = rows_of(out)
    records = trace_module.read_trace(inputs["trace"] / "trace.arrow")
    lengths = ByteTable.from_tokenizer(toy_model).target_bytes(val_tokens)
    total_bytes = int(lengths[records.target - 1].sum())
    assert len(rows) == made.facts["cells"] == 1 + 2 * (2 * 3 + 2 * 3 + 2)
    assert made.facts["token_points"] == len(rows) * len(records)
    x = val_tokens[: (3000 - 1) // WINDOW * WINDOW + 1]
    for row in rows:
        loss_T = records.loss_nats.astype(np.float64)
        if row["mixer"] is not None:
            orders = [row["order"]] if row["mixer"] == "fixed" else list(range(2, row["order"] + 1))
            fields = {"window": WINDOW, "stride": STRIDE, "ranks": RANKS, "tail": tail, "granularity": "segment"}
            counts = np.array(
                [
                    oracle.count(x, order=n, estimator=row["estimator"], buckets=1 << 10, primes="pr761", **fields)
                    for n in orders
                ],
                np.uint32,
            )
            hit = mix.first_hit(counts[:, :, 0], 2)
            r_T = mix.estimate(counts[hit, np.arange(len(hit)), 0], counts[hit, np.arange(len(hit)), 1])
            alpha = row["alpha"]
            if row["mixer"] == "adaptive":
                alpha = mix.adaptive_alpha(records.entropy_nats, base=0.05, span=0.55, slope=2.0, threshold_nats=4.0)
            loss = mix.normalized_loss if row["normalized"] else mix.legacy_loss
            loss_T = loss(records.loss_nats, alpha, r_T, hit >= 0)
        assert row["loss_sum_nats"] == pytest.approx(loss_T.sum(), rel=1e-12)
        assert row["loss_nats"] == row["loss_sum_nats"] / len(records)
        if row["normalized"]:
            assert row["mass_mean"] == 1.0
        else:
            # Fewer records than samples: every one is in the mean.
            sample = read_mass(inputs["counts.hashed"] / "mass.arrow", (2, 3, 4))
            assert sample.record.tolist() == list(range(len(records)))
            masses = sample.mass[[n - 2 for n in orders]]
            total = mix.legacy_mass(alpha, masses[hit, np.arange(len(hit))], hit >= 0)
            assert row["mass_mean"] == pytest.approx(total.mean(), rel=1e-12)
        assert (row["targets"], row["bytes"], row["causal"]) == (len(records), total_bytes, True)
        assert row["bpb"] == pytest.approx(loss_T.sum() / math.log(2) / total_bytes, rel=1e-12)
        assert row["bits"] == pytest.approx(row["bpb"] * row["bytes"], rel=1e-12)


def test_no_cell_is_more_causal_than_the_trace_it_is_made_of(inputs, out):
    path = inputs["trace"] / "trace.arrow"
    records = trace_module.read_trace(path)
    write_trace(
        path,
        [Trace(*(column.copy() for column in (records.target, records.loss_nats, records.entropy_nats)))],
        causal=False,
    )
    mix_stage.make(GRID, inputs, out, RunOptions())
    assert {row["causal"] for row in rows_of(out)} == {False}


def test_labels_tell_what_each_cell_is(inputs, out):
    made = mix_stage.make(GRID, inputs, out, RunOptions())
    rows = rows_of(out)
    neural = rows[0]
    assert (neural["estimator"], neural["normalized"], neural["mass_mean"]) == ("neural", True, 1.0)
    assert all(neural[name] is None for name in ("counts", "mixer", "order", "alpha", "min_count", "ranks", "matched"))
    assert [row["normalized"] for row in rows] == [row["estimator"] != "hashed" for row in rows]
    assert len({row["cell"] for row in rows}) == len(rows)
    for row in rows:
        settings = json.loads(row["cell"])
        assert settings == {name: row[name] for name in settings}
        assert (row["alpha"] is None) == (row["mixer"] in (None, "adaptive"))
        assert (row["entropy_base"] is None) == (row["mixer"] != "adaptive")
    honest = min((row for row in rows if row["normalized"]), key=lambda row: row["bpb"])
    assert made.facts["best_honest_bpb"] == honest["bpb"]
    assert made.facts["best_honest_cell"] == honest["cell"]
    assert made.facts["neural_bpb"] == neural["bpb"]


def test_bytes_do_not_depend_on_threads_and_repeat(inputs, tmp_path):
    for threads in (1, 4):
        (tmp_path / str(threads)).mkdir()
        mix_stage.make(GRID, inputs, tmp_path / str(threads), RunOptions(threads=threads))
    assert (tmp_path / "1/cells.parquet").read_bytes() == (tmp_path / "4/cells.parquet").read_bytes()


def test_blocks_of_trace_and_counts_are_walked_together(inputs, out, tmp_path, data_folder, monkeypatch, tail):
    mix_stage.make(GRID, inputs, out, RunOptions())
    whole = rows_of(out)
    for module in (trace_module, blocks):
        monkeypatch.setattr(module, "BLOCK_RECORDS", 700)
    monkeypatch.setattr(mix_stage, "UNIT_RECORDS", 300)
    trace = trace_module.read_trace(inputs["trace"] / "trace.arrow")
    pieced = {**inputs, "trace": tmp_path / "pieced trace", "counts.exact": tmp_path / "pieced counts"}
    del pieced["counts.hashed"]
    pieced["trace"].mkdir()
    pieced["counts.exact"].mkdir()
    write_trace(pieced["trace"] / "trace.arrow", [trace])
    config = count.open_counts(inputs["counts.exact"] / "counts.arrow").config
    count.make(config, {"data": data_folder}, pieced["counts.exact"], RunOptions())
    reports = []
    mix_stage.make(GRID, pieced, out, RunOptions(report=reports.append))
    expected = [row for row in whole if row["estimator"] != "hashed"]
    for row, other in zip(rows_of(out), expected, strict=True):
        assert row["loss_nats"] == pytest.approx(other["loss_nats"], rel=1e-12)
        assert row["bytes"] == other["bytes"]
    assert (reports[-1].done, reports[-1].total) == (len(trace), len(trace))


def test_without_counts_the_network_alone_is_reported(inputs, out):
    roles = {name: folder for name, folder in inputs.items() if not name.startswith("counts.")}
    mix_stage.make(GRID, roles, out, RunOptions())
    assert [row["estimator"] for row in rows_of(out)] == ["neural"]


def test_hedges_are_rows_of_their_own_and_need_no_counts(inputs, out, val_tokens, tail):
    grid = MixConfig(mixers=(), hedges=HEDGES)
    made = mix_stage.make(grid, {name: inputs[name] for name in ("data", "trace")}, out, RunOptions())
    neural, *rows = rows_of(out)
    trace = trace_module.read_trace(inputs["trace"] / "trace.arrow")
    plan = plan_windows((3000 - 1) // WINDOW * WINDOW, window=WINDOW, stride=STRIDE, tail=tail)
    hedges = Hedges(HEDGES, plan, val_tokens, vocab_size=VOCAB_SIZE)
    hedges.add(trace)
    for row, config, totals in zip(rows, HEDGES, hedges.totals(), strict=True):
        assert (row["estimator"], row["mixer"], row["order"]) == ("hedge", f"hedge-{config.experts}", 3)
        assert row["normalized"] == config.normalized == (config.experts == "proper")
        assert (row["mass_mean"] == 1.0) == row["normalized"]
        assert row["mass_mean"] == totals.mass / len(trace)
        assert row["loss_sum_nats"] == totals.loss_nats
        assert row["matched"] == totals.mixed == len(trace) - 256
        assert row["granularity"] == "256"
        assert row["causal"] is True
        assert {name: row[name] for name in ("targets", "bytes", "vocab")} == {
            name: neural[name] for name in ("targets", "bytes", "vocab")
        }
    assert len({row["cell"] for row in (neural, *rows)}) == 4
    assert json.loads(rows[1]["cell"]).items() >= {"eta": 0.3, "trigram_rows": 64, "batch_windows": 4}.items()
    assert made.facts["cells"] == 4
    assert made.facts["hedge_0_shares"].startswith("network ")
    # Beside a grid they are the same rows, after it.
    mix_stage.make(MixConfig(**{**GRID.model_dump(), "hedges": HEDGES}), inputs, out, RunOptions(threads=2))
    assert rows_of(out)[-3:] == rows


def test_a_hedge_on_positions_asks_for_batch_means_before_the_pass(inputs, out):
    grid = MixConfig(hedges=(HedgeConfig(**SMALL, update_on="positions"),))
    reports = []
    with pytest.raises(ConfigError, match=r'set score.batch_means=\{"chunk_tokens":256,"ranks":8,"windows":4\}'):
        mix_stage.make(grid, inputs, out, RunOptions(report=reports.append))
    assert not reports


def test_a_hedge_over_a_trace_of_longer_data_is_refused(inputs, out):
    plan = plan_windows(4096, window=WINDOW, stride=STRIDE)
    numbers = np.ones(4096, np.float32)
    write_trace(inputs["trace"] / "trace.arrow", [Trace(plan.record_targets(), numbers, numbers)], plan=plan)
    roles = {name: inputs[name] for name in ("data", "trace")}
    with pytest.raises(DataError, match="scored on 4,096 targets, the validation stream has 2,999"):
        mix_stage.make(MixConfig(hedges=HEDGES), roles, out, RunOptions())


def test_a_trace_of_another_length_is_refused_in_numbers(inputs, out):
    trace = trace_module.read_trace(inputs["trace"] / "trace.arrow")
    short = Trace(trace.target[:-5].copy(), trace.loss_nats[:-5].copy(), trace.entropy_nats[:-5].copy())
    write_trace(inputs["trace"] / "trace.arrow", [short])
    with pytest.raises(DataError, match=rf"the trace has {len(short):,} records and counts 'exact' {len(trace):,}"):
        mix_stage.make(GRID, inputs, out, RunOptions())


def test_a_trace_of_other_targets_is_refused(inputs, out):
    trace = trace_module.read_trace(inputs["trace"] / "trace.arrow")
    # What was read is mapped from the file that is written anew.
    shifted = Trace(trace.target + 1, trace.loss_nats.copy(), trace.entropy_nats.copy())
    far = Trace(trace.target + 5000, trace.loss_nats.copy(), trace.entropy_nats.copy())
    write_trace(inputs["trace"] / "trace.arrow", [shifted])
    with pytest.raises(DataError, match="are not the targets that counts 'exact' are of"):
        mix_stage.make(GRID, inputs, out, RunOptions())
    write_trace(inputs["trace"] / "trace.arrow", [far])
    with pytest.raises(DataError, match="the validation stream 1 to 2,999"):
        mix_stage.make(GRID, inputs, out, RunOptions())


def test_an_empty_trace_is_refused(inputs, out):
    write_trace(inputs["trace"] / "trace.arrow", [])
    with pytest.raises(DataError, match="has no records"):
        mix_stage.make(GRID, inputs, out, RunOptions())


def test_an_order_that_was_not_counted_is_refused(inputs, out):
    with pytest.raises(ConfigError, match="asks for order 7"):
        mix_stage.make(MixConfig(orders=(2, 7)), inputs, out, RunOptions())
