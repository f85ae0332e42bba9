"""The systems as recipes: their published facts, and their small twins through every stage."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.bundle_mutations import NOT_ENTERED, entered, functions_of
from flows.commands.cli import main
from pgolf.audit.run_scorers import RunScorers
from pgolf.bundle.bundle import built
from pgolf.bundle.log_lines import ScoreRead, scorer_named, scores_in
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import validation_tokens
from pgolf.eval.windows import plan_windows
from pgolf.model.parameter_count import parameter_count
from pgolf.pack.downgrade import middle_out
from pgolf.pack.load import load_packed
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.outcome import outcome_of
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe
from pgolf.recipes.systems import FULL, tiny
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from pgolf.tables.ranked import ranking

REPOSITORY = Path(__file__).resolve().parents[2]
SYSTEMS = tuple(full.__name__ for full in FULL)
# What others need several ranks for, or more packings than the first.
ENTERED_ALONE = {
    "pr745": {"pgolf.ranks.group.Ranks.gather"},
    "pr1493": {"pgolf.pack.packing.PackedParts.forget_oldest"},
}
# Of the published validation set, by tokenizer: whole rows of 2,048.
TARGETS = {1024: 62_021_632, 8192: 40_540_160}


@pytest.mark.parametrize("full", FULL)
def test_a_description_names_only_layers_that_recur(full):
    """A twin is described by its system's words, and may have other layers."""
    for recipe in (full(), tiny(full())):
        for named in re.findall(r"layers? ([\d, and to]+) run", recipe.description):
            numbers = tuple(map(int, re.findall(r"\d+", named)))
            assert not numbers or numbers == (recipe.model.recurrence[0], recipe.model.recurrence[-1])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("pr638", 27_137_223),
        ("pr715", 27_137_223),
        ("pr761", 27_137_223),
        ("pr745", 27_051_758),
        ("pr792", 26_993_756),
        ("pr1493", 35_944_536),
    ],
)
def test_parameter_counts_are_the_logged_ones(name, parameters):
    assert parameter_count(recipe_named(name).model) == parameters


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_full_recipe_scores_the_published_windows_and_takes_the_published_batches(name):
    recipe = recipe_named(name)
    score, train = recipe.score, recipe.train
    plan = plan_windows(TARGETS[recipe.model.vocab_size], window=score.window, stride=score.stride, tail=score.tail)
    if name == "pr1493":
        assert (plan.windows, plan.records) == (633_409, 40_540_160)
        assert (train.batches, train.data_ranks, train.rows_per_step) == ("rows", 8, 8 * 48)
    else:
        assert (plan.windows, plan.records) == (969_088, 62_023_616)
        assert (train.batches, train.stream_tokens_per_step, train.tokens_per_span) == ("spans", 786_440, 98_304)
    assert recipe.compress.budget_bytes == 16_000_000
    assert middle_out(recipe.model.layers) == (5, 6, 4, 7, 3, 8, 2, 9, 1, 10, 0)


def test_1493_leaves_the_published_calibration_time_within_the_limit():
    """Its run began to calibrate at 588.0 s and took 12.7: one configuration for all seeds, and an honest clock."""
    recipe = recipe_named("pr1493")
    assert recipe.train.clock_end_s + 12.7 < 600
    assert recipe.seeds == (42, 314, 999)
    assert (recipe.fetch.variant, recipe.fetch.repo_id) == ("sp8192", "kevclark/parameter-golf")


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_twin_differs_from_its_system_in_sizes_alone(name):
    """Every switch, that is every field that is a name, a flag or a choice of layers, is the full recipe's.

    A network with fewer layers chooses as many kinds of them: before the segment, in it, behind it, and parallel ones.
    """
    full, twin = recipe_named(name), recipe_named(f"{name}-tiny")
    if twin.model.layers != full.model.layers:
        assert name == "pr1493"
        kinds = ["plain", "repeated", "plain", "parallel"]
        assert _kinds_of_layers(full.model) == _kinds_of_layers(twin.model) == kinds
        full = full.model_copy(update={"model": full.model.model_copy(update={"recurrence": twin.model.recurrence})})
    assert _switches(full) == _switches(twin)
    assert twin.train.clock_limit_s is None
    assert twin.seeds == full.seeds[:1]


# What a CPU needs otherwise, and what says where the text comes from.
_ELSEWHERE = ("name", "description", "base", "fetch", "tokenize", "precision", "seeds")


def _kinds_of_layers(model):
    """From the first layer on, each kind once where it stands in a row."""
    kinds = [
        "repeated" if layer in model.recurrence else "parallel" if layer >= model.parallel_from else "plain"
        for layer in range(model.layers)
    ]
    return [kind for kind, _ in itertools.groupby(kinds)]


def _switches(config, prefix=""):
    found = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if name in _ELSEWHERE:
            continue
        if hasattr(type(value), "model_fields"):
            found |= _switches(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and value and hasattr(type(value[0]), "model_fields"):
            for number, item in enumerate(value):
                found |= _switches(item, f"{prefix}{name}.{number}.")
        elif isinstance(value, bool | str | tuple) or value is None:
            found[prefix + name] = value
    found.pop("train.clock_limit_s", None)
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("twins") / "store")


# A quarter of the twins' own validation documents and half their steps, each in two spans: what is looked at here needs
# no more. And one of them is put on trial: of a network that learns while it is scored, each question of a trial is a
# training (a minute of CPU), and tests/audit/test_run_scorers.py asks smaller ones.
FEWER = ("tokenize.val_one_in=256", "train.steps=8", "train.spans_per_step=2")
TRIED = "pr792"
IN_THE_ROOM = ("pr638", "pr792")


def fewer(name: str) -> Recipe:
    """A system's twin, with fewer of everything."""
    return apply_overrides(recipe_named(f"{name}-tiny"), [*FEWER, *([] if name == TRIED else ["audit=null"])])


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_twin_runs_through_all_stages_on_a_cpu(name, store, tmp_path):
    recipe = fewer(name)
    nodes = pipeline(recipe)
    artifacts = build_all(nodes, store, Memo(tmp_path / "memo"), RunOptions(device="cpu"))
    outcome = outcome_of(recipe, nodes, artifacts, tmp_path / "results", built=dict.fromkeys(artifacts, 1.0))
    outcome.file(tmp_path / "results")
    assert outcome.exit_code() == 0
    seed = recipe.seeds[0]
    cells = pq.read_table(artifacts[f"mix[{seed}]"].path / "cells.parquet").to_pylist()
    losses = {(cell["estimator"], cell["mixer"]): cell["loss_nats"] for cell in cells}
    # Better than guessing among 512 tokens, after 8 steps: the weights and their file are of use.
    assert losses["neural", None] < 6.1
    scorers = {
        "pr638": set(),
        "pr715": {("hashed", "fixed"), ("exact", "fixed")},
        "pr761": {("hashed", "adaptive"), ("exact", "adaptive")},
        "pr745": {("hedge", "hedge-published"), ("hedge", "hedge-proper")},
        "pr792": {("hashed", "adaptive"), ("exact", "adaptive")},
        "pr1493": set(),
    }[name]
    assert set(losses) == {("neural", None)} | scorers
    for cell in cells:
        honest = cell["mixer"] is None or cell["estimator"] == "exact" or cell["mixer"] == "hedge-proper"
        assert cell["normalized"] is honest
        assert cell["causal"] is (name != "pr761")
        if honest:
            assert cell["mass_mean"] == pytest.approx(1, abs=1e-6)
        else:
            assert cell["mass_mean"] > 1.01
    score_s, mix_s = (artifacts[f"{stage}[{seed}]"].record.wall_s for stage in ("score", "mix"))
    for row in outcome.scores.to_pylist():
        if row["estimator"] in ("neural", "hedge"):
            # A hedge counts while it mixes; the network alone needs neither.
            assert row["eval_clock_s"] == score_s + (mix_s if row["estimator"] == "hedge" else 0.0)
        tried = name == TRIED and row["normalized"] and row["declared"] is not False
        assert row["audited"] is (True if tried else None)
    text = outcome.text()
    assert ("legacy" in text) == bool(scorers)
    _tried_as_they_are(recipe, artifacts, cells)


def _tried_as_they_are(recipe, artifacts, cells):
    """The scorers that the audit asks are those that were scored, and tell beforehand what they will say."""
    dataset = open_dataset(artifacts["data"].path)
    tokens = np.array(validation_tokens(dataset, window=recipe.score.window), np.uint16)
    run = RunScorers(
        load_packed(artifacts[f"compress[{recipe.seeds[0]}]"].path / "model.pgolf"),
        vocab_size=dataset.vocab_size,
        bos_id=dataset.bos_id,
        score=recipe.score,
        mix=recipe.mix,
        counts={estimator: recipe.count.of(estimator) for estimator in recipe.estimators} if recipe.count else {},
        hint=recipe.hint,
    )
    by_name = dict(zip(run.names, run.of_records(tokens).mean(axis=0)))
    assert by_name == pytest.approx({cell["cell"]: cell["loss_nats"] for cell in cells}, abs=1e-12)
    # And token by token, which is what a total over the vocabulary is taken of.
    short = tokens[: recipe.score.window + 2 * recipe.score.stride + 1]
    target = len(short) - recipe.score.stride // 2
    if recipe.score.causal:
        [told_VC] = run.told(short, [target])
        for token in (short[target], 3, 200):
            changed = short.copy()
            changed[target] = token
            assert told_VC[token] == pytest.approx(run.losses(changed)[target - 1], abs=1e-9)
        # And by a session, which has nothing of what follows and computes other windows at a time.
        for column, scorer in enumerate(run.scorers()):
            session = scorer.start(int(short[0]), len(short) - 1)
            fed = np.concatenate([session.feed(short[1:9]), session.feed(short[9:target])])
            assert fed == pytest.approx(run.losses(short)[: target - 1, column], abs=1e-4)
            assert session.distribution() == pytest.approx(-told_VC[:, column], abs=1e-4)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_twins_folder_is_in_order_and_its_script_trains_and_scores_as_the_pipeline_does(
    name, store, tmp_path, capsys
):
    """With real processes: the script alone trains, packs and evaluates; then everybody's check.

    With the clean room where it is another one: of a script that compiles loops, and of one that does not.
    They enter every function of the script but those of NOT_ENTERED, and of these none.
    """
    recipe = fewer(name)
    nodes = pipeline(recipe)
    artifacts = build_all(nodes, store, Memo(tmp_path / "memo"), RunOptions(device="cpu"))  # as they are there already
    outcome = outcome_of(recipe, nodes, artifacts, tmp_path / "results", built=dict.fromkeys(artifacts, 1.0))
    outcome.file(tmp_path / "results")
    out, data, [seed] = tmp_path / "out", artifacts["data"].path, recipe.seeds
    places = ["--store", str(store.root), "--results", str(tmp_path / "results"), "--out", str(out)]
    # One seed is no record, and #761 learns a text before it scores it.
    assert main(["export", outcome.run_key, *places, "--non-record", "--no-clean-room"]) == 0
    model = tmp_path / "model.pgolf"
    words = ["--data", str(data), "--artifact", str(model), "--seed", str(seed)]
    alone = subprocess.run(
        [sys.executable, "-m", "bench.entered", "entered", str(out / "train_gpt.py"), *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert alone.returncode == 0, alone.stderr
    packed = artifacts[f"compress[{seed}]"].path / "model.pgolf"
    assert (
        model.read_bytes() == packed.read_bytes() == (tmp_path / "out.models" / f"model_seed{seed}.pgolf").read_bytes()
    )
    cells = pq.read_table(artifacts[f"mix[{seed}]"].path / "cells.parquet").to_pylist()
    told = ("loss_nats", "bpb", "targets", "bytes", "normalized", "causal", "mass_mean")
    assert scores_in(alone.stdout) == [
        ScoreRead(name=scorer_named(cell), **{column: cell[column] for column in told}) for cell in cells
    ]
    script = built(recipe)
    assert script.script == (out / "train_gpt.py").read_bytes()
    there = functions_of(script).keys()
    there_not_entered = there & NOT_ENTERED.keys() - ENTERED_ALONE.get(name, set())
    assert there - entered(script, [tmp_path / "entered"]) == there_not_entered
    capsys.readouterr()
    in_room = name in IN_THE_ROOM
    assert main(["check-submission", str(out), *(["--data", str(data)] if in_room else []), "--json"]) == 0
    found = {one["check"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert {check for check, one in found.items() if one["passed"]} == {
        *("files", "json", "script", "seeds", "numbers", "code bytes", "bytes"),
        *(("clean room", "score", "own score", "requirements") if in_room else ()),
    }
    if in_room:
        assert found["score"]["said"].split()[3].rstrip(",") in {repr(cell["bpb"]) for cell in cells}


def test_every_function_that_a_script_may_not_enter_is_in_one():
    recipes = [fewer(name) for name in SYSTEMS]
    assert NOT_ENTERED.keys() <= set().union(*(functions_of(built(recipe)) for recipe in recipes))


def test_a_network_that_learned_the_text_first_is_never_ranked(store, tmp_path):
    recipe = fewer("pr761")
    nodes = pipeline(recipe)
    artifacts = build_all(nodes, store, Memo(tmp_path / "memo"), RunOptions(device="cpu"))
    scores = outcome_of(recipe, nodes, artifacts, tmp_path).scores
    assert scores.num_rows == 3
    assert ranking(scores).rows == ()
    headings = [column.heading for column in outcome_of(recipe, nodes, artifacts, tmp_path).sheets()[0].columns]
    assert any(heading.startswith("not causal: exact") for heading in headings)
    assert not any(heading.startswith("honest") for heading in headings)
