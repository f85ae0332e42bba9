"""The mix stage from files to rows."""

import io
import json
import math
import time
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.shards import stream_digest
from pgolf.counts import count_stage as count
from pgolf.counts.config import CountConfig
from pgolf.counts.mass import read_mass
from pgolf.errors import ConfigError, DataError
from pgolf.eval import blocks
from pgolf.eval import trace as trace_module
from pgolf.eval.trace import Trace, write_trace
from pgolf.eval.windows import plan_windows
from pgolf.mix import mix_inputs, mix_progress, mix_stage
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.config import MixConfig
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.hedge_pass import Hedges
from pgolf.mix.product import Product
from pgolf.run_options import RunOptions
from pgolf.store.scratch import save
from tests.arrow_files import rewrite, stamp, write_hints
from tests.data_folder import VOCAB_SIZE, write_data_folder
from tests.oracles import numpy_mixtures as mix
from tests.oracles import plain_ngram as oracle

WINDOW, STRIDE, RANKS = 64, 16, 2
TARGETS = (3000 - 1) // WINDOW * WINDOW
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
def plan(tail):
    return plan_windows(TARGETS, window=WINDOW, stride=STRIDE, ranks=RANKS, tail=tail)


@pytest.fixture
def digest(val_tokens):
    return stream_digest(val_tokens[: TARGETS + 1])


@pytest.fixture
def inputs(tmp_path, data_folder, val_tokens, plan, digest, tail):
    """Trace of a made-up network and two count stages over the same windows."""
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
    stamp(roles["trace"] / "trace.arrow", digest)
    layout = {"window": WINDOW, "stride": STRIDE, "ranks": RANKS, "tail": tail, "orders": (2, 3, 4)}
    for name, fields in (("hashed", {"estimator": "hashed", "buckets": 1 << 10}), ("exact", {"estimator": "exact"})):
        roles[f"counts.{name}"] = tmp_path / name
        roles[f"counts.{name}"].mkdir()
        count.make(CountConfig(**layout, **fields), {"data": data_folder}, tmp_path / name, RunOptions())
        stamp(tmp_path / name / "counts.arrow", digest)
    return roles


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def rows_of(out):
    return pq.read_table(out / "cells.parquet").to_pylist()


def test_rows_are_the_cells_evaluated_from_the_data(inputs, out, val_tokens, toy_tokenizer, tail):
    made = mix_stage.make(GRID, inputs, out, RunOptions())
    rows = rows_of(out)
    records = trace_module.read_trace(inputs["trace"] / "trace.arrow")
    lengths = ByteTable.from_tokenizer(toy_tokenizer).target_bytes(val_tokens)
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


def test_bytes_counted_in_the_text_stand_in_for_the_table(inputs, out, val_tokens, toy_tokenizer, tmp_path):
    counted = np.random.default_rng(3).integers(0, 1 << 16, val_tokens.size)
    data = write_data_folder(tmp_path / "counted", val=[val_tokens], val_bytes=[counted], tokenizer=toy_tokenizer)
    mix_stage.make(GRID, inputs | {"data": data}, out, RunOptions())
    records = trace_module.read_trace(inputs["trace"] / "trace.arrow")
    rows = rows_of(out)
    assert {row["bytes"] for row in rows} == {int(counted[records.target].sum())}
    for row in rows:
        assert row["bpb"] == pytest.approx(row["loss_sum_nats"] / np.log(2) / row["bytes"], rel=1e-12)


def test_no_cell_is_more_causal_than_the_trace_it_is_made_of(inputs, out):
    rewrite(inputs["trace"] / "trace.arrow", metadata={b"pgolf.causal": b"false"})
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
        shorter = settings.pop("falls_back_on", [])
        assert shorter == ([] if row["mixer"] in (None, "fixed") or row["order"] == 2 else [2, 3])
        settings.pop("buckets", None)
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


def test_blocks_of_trace_and_counts_are_walked_together(inputs, out, tmp_path, data_folder, monkeypatch, plan, digest):
    mix_stage.make(GRID, inputs, out, RunOptions())
    whole = rows_of(out)
    monkeypatch.setattr(blocks, "BLOCK_RECORDS", 700)
    monkeypatch.setattr(mix_inputs, "UNIT_RECORDS", 300)
    trace = trace_module.read_trace(inputs["trace"] / "trace.arrow")
    pieced = {**inputs, "trace": tmp_path / "pieced trace", "counts.exact": tmp_path / "pieced counts"}
    del pieced["counts.hashed"]
    pieced["trace"].mkdir()
    pieced["counts.exact"].mkdir()
    write_trace(pieced["trace"] / "trace.arrow", [trace], plan=plan)
    stamp_pieced = partial(rewrite, metadata={b"pgolf.stream": digest.encode()}, block=700)
    stamp_pieced(pieced["trace"] / "trace.arrow")
    config = count.open_counts(inputs["counts.exact"] / "counts.arrow").config
    count.make(config, {"data": data_folder}, pieced["counts.exact"], RunOptions())
    stamp_pieced(pieced["counts.exact"] / "counts.arrow")
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
    plan = plan_windows(TARGETS, window=WINDOW, stride=STRIDE, tail=tail)
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
    with pytest.raises(ConfigError, match=r'--set .score.batch_means=\{"chunk_tokens":256,"ranks":8,"windows":4\}'):
        mix_stage.make(grid, inputs, out, RunOptions(report=reports.append))
    assert not reports


def test_a_hedge_over_a_trace_of_longer_data_is_refused(inputs, out):
    plan = plan_windows(4096, window=WINDOW, stride=STRIDE)
    numbers = np.ones(4096, np.float32)
    write_trace(inputs["trace"] / "trace.arrow", [Trace(plan.record_targets(), numbers, numbers)], plan=plan)
    roles = {name: inputs[name] for name in ("data", "trace")}
    with pytest.raises(DataError, match="scored on 4,096 targets, the validation stream has 2,999"):
        mix_stage.make(MixConfig(hedges=HEDGES), roles, out, RunOptions())


def test_a_trace_of_another_length_is_refused_in_numbers(inputs, out, plan):
    trace = trace_module.read_trace(inputs["trace"] / "trace.arrow")
    short = Trace(trace.target[:-5].copy(), trace.loss_nats[:-5].copy(), trace.entropy_nats[:-5].copy())
    write_trace(inputs["trace"] / "trace.arrow", [short], plan=plan)
    with pytest.raises(DataError, match=rf"the trace has {len(short):,} records and counts 'exact' {len(trace):,}"):
        mix_stage.make(GRID, inputs, out, RunOptions())


def test_a_trace_of_other_targets_is_refused(inputs, out):
    path = inputs["trace"] / "trace.arrow"
    trace = trace_module.read_trace(path)
    rewrite(path, columns={"target": trace.target + 1})
    with pytest.raises(DataError, match=r"records 0 to .* of the trace are not the targets that its"):
        mix_stage.make(GRID, inputs, out, RunOptions())
    rewrite(path, columns={"target": trace.target + 5000})
    with pytest.raises(DataError, match="are not the targets that its"):
        mix_stage.make(GRID, inputs, out, RunOptions())


@pytest.mark.parametrize(
    ("role", "file", "what", "again"),
    [
        ("trace", "trace.arrow", "the trace", "score"),
        ("counts.exact", "counts.arrow", "counts 'exact'", "count"),
        ("hints", "hints.arrow", "the hints", "take the hints"),
    ],
)
def test_files_of_other_tokens_are_refused_by_their_digest(hinted, out, role, file, what, again):
    path = hinted[role] / file
    stamp(path, "0" * 64)
    reports = []
    with pytest.raises(DataError, match=rf"{what} .* is of a stream 000000000000…, .*; {again} again with the data"):
        mix_stage.make(GRID, hinted, out, RunOptions(report=reports.append))
    stamp(path, None)
    with pytest.raises(DataError, match=rf"does not say which tokens it is of; {again} again"):
        mix_stage.make(GRID, hinted, out, RunOptions(report=reports.append))
    assert not reports


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", ["loss_nats", "entropy_nats", "hint_logp_7"])
def test_a_number_that_is_none_in_a_readable_trace_is_refused_with_its_place(hinted, out, column, value):
    path = hinted["trace"] / "trace.arrow"
    trace = trace_module.read_trace(path)
    whole = trace.hint_logp[7] if column == "hint_logp_7" else getattr(trace, column)
    damaged = whole.copy()
    damaged[1234] = value
    rewrite(path, columns={column: damaged})
    with pytest.raises(DataError, match=rf"has {column} {value} at record 1,234 \(target .* and 1 such values"):
        mix_stage.make(GRID, hinted, out, RunOptions())
    assert not list(out.iterdir())


def test_an_empty_trace_is_refused(inputs, out, plan):
    write_trace(inputs["trace"] / "trace.arrow", [], plan=plan)
    with pytest.raises(DataError, match="has no records"):
        mix_stage.make(GRID, inputs, out, RunOptions())


def test_an_order_that_was_not_counted_is_refused(inputs, out):
    with pytest.raises(ConfigError, match="asks for order 7"):
        mix_stage.make(MixConfig(orders=(2, 7)), inputs, out, RunOptions())


HINT_ORDERS = (7, 9)


@pytest.fixture
def hinted(tmp_path, inputs, val_tokens, digest):
    """The inputs with hand-written hints: some right, some wrong, some missing, and what the network says of them."""
    rng = np.random.default_rng(8)
    path = inputs["trace"] / "trace.arrow"
    trace = trace_module.read_trace(path)
    columns, logps = {}, {}
    for order in HINT_ORDERS:
        context = rng.poisson(2, len(trace)).astype(np.uint32)
        hint = np.where(rng.random(len(trace)) < 0.4, val_tokens[trace.target].astype(np.int32), 256)
        hint = np.where(context > 0, hint, -1)
        columns[order] = (hint, context, rng.binomial(context, 0.8))
        right = hint == val_tokens[trace.target]
        # The rest of the network's mass is what a wrong hint can have at most.
        wrong = np.log1p(-np.exp(-trace.loss_nats.astype(np.float64)) * 0.999) - 0.5
        logps[order] = np.where(hint < 0, 0.0, np.where(right, -trace.loss_nats, wrong)).astype(np.float32)
    rewrite(path, columns={f"hint_logp_{order}": logp for order, logp in logps.items()})
    folder = tmp_path / "hints"
    folder.mkdir()
    write_hints(folder / "hints.arrow", columns, digest)
    return {**inputs, "hints": folder}


TILTS = Product(mixers=("tilt",), tilts=(1.0, 2.625), tilt_gammas=(0.0, 1.0), min_counts=(1, 2))


def test_tilts_are_read_from_hints_and_trace(hinted, out, val_tokens):
    made = mix_stage.make(MixConfig(mixers=(), also=(TILTS,)), hinted, out, RunOptions())
    trace = trace_module.read_trace(hinted["trace"] / "trace.arrow")
    file = mix_inputs.MixInputs(hinted)
    [columns] = file.hints.blocks()
    _, *rows = rows_of(out)
    assert len(rows) == made.facts["cells"] - 1 == 2 * 2 * 2 * 2
    assert len({row["cell"] for row in rows}) == len(rows)
    for row in rows:
        orders = [order for order in HINT_ORDERS if order <= row["order"]]
        context, count, hint = (
            np.stack([columns[f"{kind}_{n}"] for n in orders]) for kind in ("context", "count", "hint")
        )
        hit = mix.confident_hit(context, count, min_count=row["min_count"], confidence=row["tilt_confidence"])
        places = np.arange(len(hit))
        loss_T = mix.tilted_loss(
            trace.loss_nats,
            np.stack([trace.hint_logp[n] for n in orders])[hit, places],
            hint[hit, places] == val_tokens[trace.target],
            hit >= 0,
            tilt_nats=row["tilt_nats"],
            gamma=json.loads(row["cell"]).get("tilt_gamma", 0.0),
        )
        assert row["loss_sum_nats"] == pytest.approx(loss_T.sum(), rel=1e-12)
        assert row["matched"] == (hit >= 0).sum()
        told = (row["estimator"], row["counts"], row["normalized"], row["mass_mean"], row["granularity"], row["ranks"])
        assert told == ("hint", None, True, 1.0, "1", 1)
        assert json.loads(row["cell"])["delay_targets"] == 2048


def test_a_trace_scored_with_other_hints_is_refused(hinted, out, digest):
    path = hinted["trace"] / "trace.arrow"
    trace = trace_module.read_trace(path)
    grid = MixConfig(mixers=(), also=(TILTS,))
    rewrite(path, columns={"hint_logp_9": (trace.hint_logp[9] - np.float32(0.25)).astype(np.float32)})
    with pytest.raises(DataError, match=r"hint of order 9 is the target itself.*scored with other hints"):
        mix_stage.make(grid, hinted, out, RunOptions())
    [columns] = mix_inputs.MixInputs(hinted).hints.blocks()
    eleven = {11: tuple(columns[f"{kind}_9"] for kind in ("hint", "context", "count"))}
    write_hints(hinted["hints"] / "hints.arrow", eleven, digest)
    with pytest.raises(DataError, match=r"hints of orders 7, 9, the hints are of orders 11 \(1 missing\); score with"):
        mix_stage.make(grid, hinted, out, RunOptions())


def test_hints_that_cannot_be_read_are_refused(hinted, out):
    (hinted["hints"] / "hints.arrow").write_bytes(b"no Arrow")
    with pytest.raises(DataError, match="cannot be read as hints"):
        mix_stage.make(GRID, hinted, out, RunOptions())


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (None, "does not say how its hints were taken"),
        (b"no JSON", "Invalid JSON"),
        (b'{"orders": [7, 9], "table": "new"}', "table: Extra inputs are not permitted"),
        (b'{"orders": {"7": 9}}', "orders: Input should be a valid array"),
        (b'{"orders": [7, 9], "ranks": 0}', "ranks: Input should be greater than or equal to 1"),
        (b'{"orders": [7]}', r"has columns hint_7 int32, context_7 uint32, .*not those of hints"),
    ],
)
def test_hints_of_another_version_are_refused_with_their_file_and_what_to_do(hinted, out, described, said):
    rewrite(hinted["hints"] / "hints.arrow", metadata={b"pgolf.hint_config": described})
    with pytest.raises(DataError, match=rf"hints.arrow .*{said}.*; take the hints again"):
        mix_stage.make(GRID, hinted, out, RunOptions())


def test_a_digest_that_is_no_text_is_another_stream(hinted, out):
    rewrite(hinted["hints"] / "hints.arrow", metadata={b"pgolf.stream": b"\xff\xfe"})
    with pytest.raises(DataError, match=r"hints.arrow\) is of a stream .*; take the hints again with the data"):
        mix_stage.make(GRID, hinted, out, RunOptions())


def arrays_file(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        arrays_file(loss_nats=np.zeros(3)),
        arrays_file(about=np.frombuffer(b"no JSON", np.uint8)),
        arrays_file(about=np.frombuffer(b'{"of": 1}', np.uint8)),
    ],
)
def test_sums_that_another_program_kept_are_not_gone_on_from(inputs, out, tmp_path, content):
    save(tmp_path / "totals.npz", content)
    made = mix_stage.make(GRID, inputs, out, RunOptions(scratch=tmp_path))
    assert "resumed_at_record" not in made.facts


def test_dirichlet_rows_are_honest_with_exact_counts_and_show_their_mass_with_hashed_ones(inputs, out):
    mix_stage.make(MixConfig(mixers=("dirichlet",), concentrations=(2.0,)), inputs, out, RunOptions())
    loss_T = trace_module.read_trace(inputs["trace"] / "trace.arrow").loss_nats
    for row in rows_of(out)[1:]:
        [columns] = count.open_counts(inputs[f"counts.{row['counts']}"] / "counts.arrow").blocks()
        context, full = (np.stack(half)[: row["order"] - 1] for half in (columns[:3], columns[3:]))
        expected = mix.dirichlet_loss(loss_T, context, full, 2.0, legacy=row["estimator"] == "hashed")
        assert row["loss_sum_nats"] == pytest.approx(expected.sum(), rel=1e-12)
        assert (row["concentration"], row["alpha"], row["min_count"]) == (2.0, None, None)
        if row["normalized"]:
            assert row["mass_mean"] == 1.0
        else:
            sample = read_mass(inputs["counts.hashed"] / "mass.arrow", (2, 3, 4))
            rows = slice(0, row["order"] - 1)
            assert row["mass_mean"] == mix.dirichlet_mass(sample.context[rows], sample.mass[rows], 2.0).mean()
            assert row["mass_mean"] > 1.001


def test_bayes_rows_keep_their_bound_and_are_told_apart_by_their_members(hinted, out):
    members = (Product(mixers=("dirichlet",), concentrations=(1.0, 3.0)),)
    bayes = (BayesConfig(), BayesConfig(share_rate=1e-3), BayesConfig(members=members), BayesConfig(chunk_targets=64))
    config = MixConfig(**{**GRID.model_dump(), "also": (TILTS,), "bayes": bayes})
    made = mix_stage.make(config, hinted, out, RunOptions())
    rows = rows_of(out)
    mixed = rows[-4:]
    honest = [row for row in rows[:-4] if row["normalized"]]
    assert [(row["estimator"], row["mixer"], row["share_rate"]) for row in mixed] == [
        ("bayes", "bayes", None), ("bayes", "fixed-share", 1e-3), ("bayes", "bayes", None), ("bayes", "bayes", None)
    ]  # fmt: skip
    assert [row["members"] for row in mixed] == [len(honest), len(honest), 1 + 2 * 3, len(honest)]
    assert all(row["normalized"] and row["mass_mean"] == 1.0 for row in mixed)
    best = min(row["loss_sum_nats"] for row in honest)
    assert best < mixed[0]["loss_sum_nats"] <= best + math.log(len(honest))
    assert mixed[3]["loss_sum_nats"] <= best + 64 * math.log(len(honest))
    assert len({row["cell"] for row in rows}) == len(rows)
    assert made.facts["bayes_2_shares"].count("dirichlet") >= 4
    # The rows of the grid are what they are without mixtures of them.
    mix_stage.make(config.model_copy(update={"bayes": ()}), hinted, out, RunOptions())
    assert rows_of(out) == rows[:-4]


class Killed(Exception):
    """In place of a kill: whatever was under way is lost."""


def test_a_mix_that_was_interrupted_goes_on_and_writes_the_same_bytes(hinted, tmp_path, monkeypatch):
    monkeypatch.setattr(mix_inputs, "UNIT_RECORDS", 256)
    monkeypatch.setattr(mix_progress, "SAVE_EVERY_S", 0.0)
    bayes = (BayesConfig(), BayesConfig(share_rate=1e-3), BayesConfig(chunk_targets=100, share_rate=0.1))
    config = MixConfig(**{**GRID.model_dump(), "bayes": bayes, "hedges": HEDGES})
    folders = {name: tmp_path / name for name in ("whole", "broken", "scratch")}
    for folder in folders.values():
        folder.mkdir()
    whole = mix_stage.make(config, hinted, folders["whole"], RunOptions(threads=1))

    keep, kept = mix_progress.MixProgress.keep, []

    def keep_thrice(self, records, sums):
        if len(kept) == 3:
            raise Killed
        keep(self, records, sums)
        kept.append(records)

    monkeypatch.setattr(mix_progress.MixProgress, "keep", keep_thrice)
    with pytest.raises(Killed):
        mix_stage.make(config, hinted, folders["broken"], RunOptions(scratch=folders["scratch"]))
    monkeypatch.setattr(mix_progress.MixProgress, "keep", keep)
    reports = []
    resumed = RunOptions(scratch=folders["scratch"], threads=1, report=reports.append)
    made = mix_stage.make(config, hinted, folders["broken"], resumed)
    assert made.facts["resumed_at_record"] == kept[-1] == reports[0].done == 3 * 256
    assert {**made.facts, "resumed_at_record": 0} == {**whole.facts, "resumed_at_record": 0}
    assert (folders["broken"] / "cells.parquet").read_bytes() == (folders["whole"] / "cells.parquet").read_bytes()

    # Sums of another grid, and damaged ones, are not gone on from.
    made = mix_stage.make(GRID, hinted, folders["broken"], resumed)
    assert "resumed_at_record" not in made.facts
    made = mix_stage.make(GRID, hinted, folders["broken"], resumed)
    assert made.facts["resumed_at_record"] > 0
    path = folders["scratch"] / "totals.npz"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    made = mix_stage.make(GRID, hinted, folders["broken"], resumed)
    assert "resumed_at_record" not in made.facts


def test_a_mix_that_was_killed_twice_says_how_long_all_of_its_runs_took(hinted, tmp_path, monkeypatch):
    monkeypatch.setattr(mix_inputs, "UNIT_RECORDS", 256)
    monkeypatch.setattr(mix_progress, "SAVE_EVERY_S", 0.0)
    keep, kept_s = mix_progress.MixProgress.keep, []

    def keep_twice(self, records, sums):
        if len(kept_s) == 2:
            raise Killed
        time.sleep(0.05)
        keep(self, records, sums)
        kept_s.append(time.perf_counter())

    least_s, most_s = 0.0, 0.0
    run = RunOptions(scratch=tmp_path, threads=1)
    monkeypatch.setattr(mix_progress.MixProgress, "keep", keep_twice)
    for _ in range(2):
        began_s = time.perf_counter()
        kept_s.clear()
        with pytest.raises(Killed):
            mix_stage.make(GRID, hinted, tmp_path, run)
        least_s += kept_s[1] - kept_s[0]
        most_s += kept_s[1] - began_s
    monkeypatch.setattr(mix_progress.MixProgress, "keep", keep)
    made = mix_stage.make(GRID, hinted, tmp_path, run)
    assert made.facts["resumed_at_record"] == 4 * 256
    assert 0.1 < least_s <= made.phases_s["before"] <= most_s
    assert set(mix_stage.make(GRID, hinted, tmp_path, RunOptions()).phases_s) == {"mix"}
