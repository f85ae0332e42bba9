"""Losses document by document: those of the mix, cut where a document begins."""

from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from pgolf.corpus.shards import stream_digest
from pgolf.counts import count_stage as count
from pgolf.counts.config import CountConfig
from pgolf.errors import ConfigError
from pgolf.eval.trace import Trace, read_trace, write_trace
from pgolf.eval.windows import plan_windows
from pgolf.mix import by_document_stage, mix_stage
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.by_document_config import ByDocumentConfig
from pgolf.mix.by_document_files import read_documents, read_losses, read_whole
from pgolf.mix.config import MixConfig
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.run_options import RunOptions
from tests.data_folder import write_data_folder

WINDOW, STRIDE = 64, 16
TARGETS = (3000 - 1) // WINDOW * WINDOW
BOS = 1
GRID = MixConfig(
    mixers=("backoff", "dirichlet"),
    alphas=(0.1, 0.4),
    orders=(2, 3),
    bayes=(BayesConfig(), BayesConfig(share_rate=0.01), BayesConfig(chunk_targets=50)),
)


@pytest.fixture(params=["once", "repeat"])
def plan(request):
    return plan_windows(TARGETS, window=WINDOW, stride=STRIDE, ranks=2, tail=request.param)


@pytest.fixture
def val_tokens():
    """3,000 tokens with a document start at 0 and at 40 other places, two of them side by side."""
    rng = np.random.default_rng(6)
    tokens = rng.integers(255, 280, 3000).astype(np.uint16)
    tokens[np.unique(rng.integers(1, 3000, 40))] = BOS
    tokens[[0, 700, 701]] = BOS
    return tokens


@pytest.fixture
def inputs(tmp_path, toy_tokenizer, val_tokens, plan):
    data = write_data_folder(tmp_path / "data", train=[val_tokens], val=[val_tokens], tokenizer=toy_tokenizer)
    rng = np.random.default_rng(7)
    target = plan.record_targets()
    loss, entropy = rng.exponential(2.5, len(target)), rng.uniform(0, 7, len(target))
    folders = {"data": data, "trace": tmp_path / "trace", "counts.exact": tmp_path / "exact"}
    for role in ("trace", "counts.exact"):
        folders[role].mkdir()
    digest = stream_digest(val_tokens[: TARGETS + 1])
    trace = Trace(target, loss.astype(np.float32), entropy.astype(np.float32))
    write_trace(folders["trace"] / "trace.arrow", [trace], plan=plan, stream=digest)
    tail = "once" if len(target) == TARGETS else "repeat"
    config = CountConfig(estimator="exact", window=WINDOW, stride=STRIDE, ranks=2, tail=tail, orders=(2, 3))
    count.make(config, {"data": data}, folders["counts.exact"], RunOptions())
    return folders


def made(config, inputs, folder, threads=1):
    folder.mkdir()
    by_document_stage.make(config, inputs, folder, RunOptions(threads=threads))
    return read_documents(folder), read_losses(folder)


def test_documents_add_up_to_what_the_mix_makes_of_the_whole(inputs, tmp_path):
    (tmp_path / "mix").mkdir()
    mix_stage.make(GRID, inputs, tmp_path / "mix", RunOptions())
    cells = pq.read_table(tmp_path / "mix/cells.parquet").to_pylist()
    (targets, sizes), losses = made(ByDocumentConfig(mix=GRID), inputs, tmp_path / "documents")
    assert list(losses) == [row["cell"] for row in cells]
    assert targets.sum() == cells[0]["targets"]
    assert sizes.sum() == cells[0]["bytes"]
    for row in cells:
        assert losses[row["cell"]].sum() == pytest.approx(row["loss_sum_nats"], rel=1e-12)


def test_the_network_loses_in_a_document_what_its_records_say(inputs, tmp_path, val_tokens):
    (targets, _), losses = made(ByDocumentConfig(mix=GRID), inputs, tmp_path / "documents")
    trace = read_trace(inputs["trace"] / "trace.arrow")
    # By definition: a target belongs to the document of the token before it.
    starts = [0, *(place for place in range(1, TARGETS) if val_tokens[place] == BOS)]
    owner = np.array([sum(start < target for start in starts) - 1 for target in trace.target])
    wanted = [trace.loss_nats[owner == number].astype(np.float64).sum() for number in range(len(starts))]
    assert targets.tolist() == [int((owner == number).sum()) for number in range(len(starts))]
    np.testing.assert_allclose(next(iter(losses.values())), wanted, rtol=1e-9, atol=1e-9)


def test_a_mixture_loses_in_a_document_what_it_would_in_a_text_that_ends_there(inputs, tmp_path, plan):
    """Whatever comes later changes nothing: sums up to a document are those of a mix of the records up to it."""
    (targets, _), losses = made(ByDocumentConfig(mix=GRID), inputs, tmp_path / "documents")
    (parts, _), of_parts = made(ByDocumentConfig(mix=GRID, parts=4), inputs, tmp_path / "parts")
    ends = np.searchsorted(np.cumsum(targets), np.cumsum(parts))
    for scorer, loss in losses.items():
        np.testing.assert_allclose(np.cumsum(of_parts[scorer]), np.cumsum(loss)[ends], rtol=1e-12)


def test_parts_are_whole_documents_and_all_of_the_text(inputs, tmp_path):
    (targets, sizes), losses = made(ByDocumentConfig(mix=GRID), inputs, tmp_path / "documents")
    (parts, part_sizes), of_parts = made(ByDocumentConfig(mix=GRID, parts=7), inputs, tmp_path / "parts")
    assert len(parts) == 7
    assert set(np.cumsum(parts)) <= set(np.cumsum(targets))
    assert (parts.sum(), part_sizes.sum()) == (targets.sum(), sizes.sum())
    assert max(parts) - min(parts) <= 2 * max(targets)
    for scorer in losses:
        assert of_parts[scorer].sum() == pytest.approx(losses[scorer].sum(), rel=1e-12)


@pytest.mark.parametrize("last", ["goes on", "ends with the windows"])
def test_a_document_is_whole_if_all_of_it_was_scored_and_each_target_once(
    tmp_path, inputs, val_tokens, plan, last, toy_tokenizer
):
    tokens = val_tokens.copy()
    tokens[TARGETS - 70 : TARGETS + 1] = 260
    tokens[[TARGETS - 40, TARGETS - 8]] = BOS  # the last stride has parts of two
    if last == "ends with the windows":
        tokens[TARGETS] = BOS
    inputs = dict(inputs)
    inputs["data"] = write_data_folder(tmp_path / "other", train=[tokens], val=[tokens], tokenizer=toy_tokenizer)
    (tmp_path / "traced").mkdir()
    trace = read_trace(inputs["trace"] / "trace.arrow")
    write_trace(tmp_path / "traced/trace.arrow", [trace], plan=plan, stream=stream_digest(tokens[: TARGETS + 1]))
    inputs["trace"] = tmp_path / "traced"
    del inputs["counts.exact"]
    nothing = MixConfig(mixers=("fixed",), alphas=(0.5,), orders=(2,))
    made(ByDocumentConfig(mix=nothing), inputs, tmp_path / "documents")
    # By definition, over the whole stream; the last document there has no next one's first token.
    scored = np.bincount(trace.target, minlength=len(tokens))
    starts = [*np.flatnonzero(tokens == BOS), len(tokens)]
    whole = [bool((scored[a + 1 : b + 1] == 1).all()) for a, b in pairwise(starts)]
    found = read_whole(tmp_path / "documents").tolist()
    assert found == whole[: len(found)]
    assert found.count(False) == (2 if plan.tail == "repeat" else int(last == "goes on"))
    made(ByDocumentConfig(mix=nothing, parts=4), inputs, tmp_path / "parts")
    assert read_whole(tmp_path / "parts").tolist()[-1] is found[-1]


def test_threads_change_no_bit(inputs, tmp_path):
    one = made(ByDocumentConfig(mix=GRID), inputs, tmp_path / "one", threads=1)
    three = made(ByDocumentConfig(mix=GRID), inputs, tmp_path / "three", threads=3)
    assert all(np.array_equal(one[1][scorer], three[1][scorer]) for scorer in one[1])


def test_a_hedge_mixture_has_no_losses_by_document(inputs, tmp_path):
    with pytest.raises(ConfigError, match="chunk by chunk"):
        made(ByDocumentConfig(mix=MixConfig(hedges=(HedgeConfig(),))), inputs, tmp_path / "documents")


def test_more_sums_than_fit_are_refused_before_any_work(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(by_document_stage, "MOST_SUMS", 100)
    with pytest.raises(ConfigError, match=r"scorers of \d+ documents"):
        made(ByDocumentConfig(mix=GRID), inputs, tmp_path / "documents")
