"""`pgolf compare`: two runs that a store holds, and what becomes of the comparison when its outputs are gone."""

import html
import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from flows.commands.cli import main
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import validation_tokens
from pgolf.corpus.target_bytes import TargetBytes
from pgolf.eval.trace import read_trace
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.outcome import outcome_of
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from pgolf.tables.parquet import read
from pgolf.tables.schema import SCORES, STAGES
from tests.tiny import tiny_recipe, write_documents

# One trained network per seed, scored by two grids.
WIDE = ("run_name=wide", "mix.mixers=backoff,dirichlet", "mix.alphas=0.1,0.6", "mix.bayes=[{}]", "headline.alpha=0.1")
NARROW = ("run_name=narrow", "headline.alpha=0.4")
# Runs of the same text that end at other places of it.
OTHER_TOKENS = ("run_name=tokens", "seeds=[1]", "tokenize.vocab_size=310", "model.vocab_size=310")
OTHER_WINDOWS = ("run_name=windows", "seeds=[1]", "score.window=80", "count.window=80")
# Another grid, without the headline.
NO_HEADLINE = ("run_name=no-headline", "mix.alphas=0.5,0.6")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder in which both have run and filed their results."""
    folder = tmp_path_factory.mktemp("compare")
    sources = write_documents(folder, count=120)
    store, memo = Store(folder / "store"), Memo(folder / "store" / ".sources.sqlite")
    for overrides in (WIDE, NARROW, NO_HEADLINE, OTHER_TOKENS, OTHER_WINDOWS):
        recipe = tiny_recipe(*overrides, "tokenize.val_one_in=3")
        nodes = pipeline(recipe, sources)
        artifacts = build_all(nodes, store, memo, RunOptions())
        built = dict.fromkeys(artifacts, 1.0)
        outcome_of(recipe, nodes, artifacts, folder / "results", built=built).file(folder / "results")
    return folder


def compare(folder, *words):
    return main(["compare", *words, "--store", str(folder / "store"), "--results", str(folder / "results")])


def compared(folder, capsys, *words):
    assert compare(folder, *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_the_answer_comes_first_then_tables_then_a_figure(made, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert compare(made, "wide", "narrow") == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith("wide ")
    assert " nats per token (" in lines[0]
    assert "95 % " in lines[0]
    assert ", n = 2" in " ".join(lines[:2])
    places = [out.index(part) for part in ("settings that differ", "loss in nats per token", "tests", "●", "gain in")]
    assert places == sorted(places)
    assert all(len(line) <= 80 for line in lines)


def test_the_same_networks_are_compared_in_pairs_and_over_documents(made, capsys):
    found = compared(made, capsys, "wide", "narrow")
    (gain,) = found["gains"]
    assert gain["test"] == "paired"
    assert [arm["scorer"] for arm in found["arms"]] == [
        "exact backoff order 3 alpha 0.1",
        "exact backoff order 3 alpha 0.4",
    ]
    runs = {key for arm in found["arms"] for key in arm["runs"]}
    rows = [r for r in read(made / "results", SCORES, {"estimator": "exact"}).to_pylist() if r["run_key"] in runs]
    mean = {
        a: np.mean([r["loss_nats"] for r in rows if r["alpha"] == a and r["mixer"] == "backoff"]) for a in (0.1, 0.4)
    }
    assert gain["gain_nats"] == pytest.approx(mean[0.4] - mean[0.1], rel=1e-9)
    # Documents of the validation text add up to the same gain.
    assert gain["documents"]["gain_nats"] == pytest.approx(gain["gain_nats"], rel=1e-9)
    assert gain["documents"]["documents"] > 20
    assert {"setting", "arm_0", "arm_1"} == set(found["settings"][0])


def test_losses_by_document_are_made_once(made, capsys):
    compared(made, capsys, "wide", "narrow")
    before = sorted(path.name for path in (made / "store").glob("by_document-*"))
    assert before
    compared(made, capsys, "wide", "narrow")
    assert sorted(path.name for path in (made / "store").glob("by_document-*")) == before


def test_another_scorer_may_be_asked_for(made, capsys):
    for words, scorer in (
        (["--scorer", "network"], "network"),
        (["--scorer", "estimator=exact order=3 mixer=backoff alpha<0.5"], "exact backoff order 3 alpha 0.1"),
    ):
        assert compared(made, capsys, "wide", "narrow", *words)["arms"][0]["scorer"] == scorer
    same = compared(made, capsys, "wide", "narrow", "--scorer", "network")["gains"][0]
    assert same["gain_nats"] == 0.0
    assert same["documents"]["gain_nats"] == 0.0


def test_a_scorer_chosen_on_one_part_is_reported_on_the_rest(made, capsys):
    found = compared(made, capsys, "wide", "narrow", "--select-on", "0.4")
    wide, _ = found["arms"]
    assert "the best on the first" in wide["notes"][0]
    of_traces = {len(read_trace(path)) for path in made.glob("store/score-*/trace.arrow")}
    said = wide["notes"][0]
    first = int(said.split("on the first ")[1].split(" ")[0].replace(",", ""))
    rest = int(said.rsplit(" ", 1)[1].rstrip(".").replace(",", ""))
    targets = first + rest
    assert targets in of_traces
    assert 0 < first <= 0.4 * targets
    # What the other documents say of the scorer that was chosen.
    (gain,) = found["gains"]
    assert gain["documents"]["targets"] == rest
    assert gain["documents"]["gain_nats"] == pytest.approx(gain["gain_nats"], rel=1e-9)


def test_what_cannot_be_compared_is_refused_with_what_to_do(made, capsys):
    for words, said in (
        (["wide"], "takes two runs or more"),
        (["wide", "wide"], "is in two of the arms"),
        (["wide", "narow"], "did you mean narrow"),
        (["wide", "narrow", "--select-on", "1.5"], "--select-on 1.5 is no share"),
        (["wide", "narrow", "--select-on", "0.0001"], "leaves no whole document on one side"),
        (["wide", "narrow", "--margin", "-1"], "--margin -1"),
        (["wide", "narrow", "--select-on", "0.5", "--scorer", "network"], "leave out --scorer or --select-on"),
        (["wide", "narrow", "--select-on", "0.5", "--scorer", "headline"], "leave out --scorer or --select-on"),
        (["wide", "narrow", "--select-on", "0.5", "--no-documents"], "leave out --no-documents or --select-on"),
        (["tokens", "narrow", "--no-documents"], "not to be had: left out (--no-documents)"),
        (["wide", "narrow", "--scorer", "estimator=hashed"], "scorers are estimator=hashed"),
        (["wide", "narrow", "--scorer", "estimator=hashed alpha=0.1"], "no code length"),
    ):
        assert compare(made, *words) == 2, words
        assert said in capsys.readouterr().err


def test_gone_outputs_leave_the_tests_over_seeds(made, capsys, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    for folder in (tmp_path / "copy/store").glob("score-*"):
        shutil.rmtree(folder)
    for folder in (tmp_path / "copy/store").glob("by_document-*"):
        shutil.rmtree(folder)
    (gain,) = compared(tmp_path / "copy", capsys, "wide", "narrow")["gains"]
    assert gain["documents"] is None
    assert "is no longer in" in gain["no_documents"]
    assert gain["paired"]["p"] is not None
    assert compare(tmp_path / "copy", "wide", "narrow", "--select-on", "0.5") == 2
    assert "no scorer can be chosen on a part of the text" in capsys.readouterr().err


def test_without_a_store_or_with_no_documents_nothing_is_written(made, capsys, tmp_path):
    shutil.copytree(made / "results", tmp_path / "results")
    (gain,) = compared(tmp_path, capsys, "wide", "narrow")["gains"]
    assert "there is no store at" in gain["no_documents"]
    assert not (tmp_path / "store").exists()
    (gain,) = compared(made, capsys, "wide", "narrow", "--no-documents")["gains"]
    assert "left out (--no-documents)" in gain["no_documents"]
    assert math.isfinite(gain["gain_nats"])


def test_per_byte_and_the_chronological_rule_are_options(made, capsys):
    token = compared(made, capsys, "wide", "narrow")
    found = compared(made, capsys, "wide", "narrow", "--per", "byte", "--rule", "chronological")
    assert found["rule"]["per"] == "byte"
    assert (found["rule"]["margin_nats"], found["rule"]["p_below"]) == (0.0, 0.25)
    assert found["gains"][0]["gain_nats"] == pytest.approx(token["gains"][0]["gain_nats_per_byte"], rel=1e-9)
    assert compared(made, capsys, "wide", "narrow", "--margin", "0.001")["rule"]["margin_nats"] == 0.001


def test_a_report_of_two_runs_begins_with_the_answer(made, capsys, tmp_path):
    out = tmp_path / "both.html"
    places = ["--store", str(made / "store"), "--results", str(made / "results")]
    assert main(["report", "wide", "narrow", "--out", str(out), *places]) == 0
    capsys.readouterr()
    sentence = compared(made, capsys, "wide", "narrow", "--no-documents")["gains"][0]["sentence"]
    assert html.escape(sentence) in out.read_text()


def nats_by_document(made, run):
    """Of seed 1's network, by definition: document -> its loss and bytes, if every token of it was scored."""
    stages = read(made / "results", STAGES).to_pylist()
    folders = {row["stage"]: made / "store" / row["folder"] for row in stages
               if row["run_key"].startswith(run) and row["seed"] in (1, None)}  # fmt: skip
    trace = read_trace(folders["score"] / "trace.arrow")
    dataset = open_dataset(folders["tokenize"])
    tokens = validation_tokens(dataset, window=1)
    target_bytes = TargetBytes(dataset, tokens)
    starts = [*np.flatnonzero(tokens == dataset.bos_id), len(tokens)]
    loss = np.full(len(tokens) + 1, np.nan)
    loss[trace.target] = trace.loss_nats
    found = {}
    for number, (start, end) in enumerate(pairwise(starts)):
        targets = np.arange(start + 1, min(end, len(tokens) - 1) + 1)
        if not np.isnan(loss[targets]).any():
            found[number] = loss[targets].sum(), target_bytes.total(targets)
    return found


@pytest.mark.parametrize(("run", "per"), [("tokens", "byte"), ("windows", "token")])
def test_arms_that_end_at_other_places_are_compared_over_equal_documents(made, capsys, run, per):
    found = compared(made, capsys, run, "narrow", "--scorer", "network")
    (gain,) = found["gains"]
    keys = {arm["name"]: arm["runs"][0] for arm in found["arms"]}
    ours, theirs = nats_by_document(made, keys[run]), nats_by_document(made, keys["narrow"])
    both = sorted(ours.keys() & theirs.keys())
    assert len(both) > 20
    assert [ours[number][1] for number in both] == [theirs[number][1] for number in both]
    size = sum(ours[number][1] for number in both)
    assert found["rule"]["per"] == per
    assert f"compared over the {len(both)} documents ({size:,} bytes) that all arms scored wholly" in found["note"]
    for arm, nats in zip(found["arms"], (ours, theirs)):
        total = sum(nats[number][0] for number in both)
        assert arm["seeds"]["1"]["bpb"] == pytest.approx(total / size / math.log(2), rel=1e-9)
    assert gain["documents"]["documents"] == len(both)
    chosen = compared(made, capsys, run, "narrow", "--select-on", "0.3")
    (gain,) = chosen["gains"]
    assert 10 <= gain["documents"]["documents"] < len(both)


def test_headlines_are_not_compared_with_networks(made, capsys, tmp_path):
    for words in (("wide", "no-headline"), ("no-headline", "wide")):
        found = compared(made, capsys, *words)
        assert [arm["scorer"] for arm in found["arms"]] == ["network", "network"]
        said = "; compared by the network alone: no-headline has no declared mixture"
        assert found["gains"][0]["sentence"].endswith(said)
    places = ["--store", str(made / "store"), "--results", str(made / "results")]
    assert main(["report", "no-headline", "wide", "--out", str(tmp_path / "page.html"), *places]) == 0
    assert said in html.unescape((tmp_path / "page.html").read_text())


def test_what_a_mixture_adds_to_a_network_is_asked_by_name(made, capsys):
    found = compared(made, capsys, "wide", "narrow", "--base-scorer", "network")
    assert [arm["scorer"] for arm in found["arms"]] == ["exact backoff order 3 alpha 0.1", "network"]
    (gain,) = found["gains"]
    assert gain["gain_nats"] == pytest.approx(gain["documents"]["gain_nats"], rel=1e-9)
    assert gain["gain_nats"] != 0.0
    arguments = ["compare", "wide", "narrow", "--base-scorer", "network", "--select-on", "0.5"]
    assert main([*arguments, "--store", str(made / "store"), "--results", str(made / "results")]) == 2
    assert "leave out --base-scorer or --select-on" in capsys.readouterr().err


def test_losses_by_document_take_one_line(made, capsys, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    for folder in (tmp_path / "copy/store").glob("by_document-*"):
        shutil.rmtree(folder)
    assert compare(tmp_path / "copy", "wide", "narrow", "--select-on", "0.5") == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[:2] for line in told] == [["✓ losses by document", "8 made"]]
    assert compare(tmp_path / "copy", "wide", "narrow", "--select-on", "0.5") == 0
    assert capsys.readouterr().err == ""


def test_a_report_says_what_compare_says_of_one_seed_and_of_other_tokens(made, capsys, tmp_path):
    places = ["--store", str(made / "store"), "--results", str(made / "results")]
    for run in ("tokens", "windows"):
        out = tmp_path / f"{run}.html"
        assert main(["report", run, "narrow", "--out", str(out), *places]) == 0
        capsys.readouterr()
        found = compared(made, capsys, run, "narrow")
        title = html.unescape(out.read_text().partition("<h1>")[2].partition("</h1>")[0])
        over = found["note"].partition("; left out: ")[0]
        assert title == f"{found['gains'][0]['sentence']}. {over[0].upper()}{over[1:]}."
        assert "95 % over documents" in title
        assert "They are of one text and end at other places of it" in out.read_text()
