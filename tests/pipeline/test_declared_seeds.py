"""Every run declares its seeds before its first stage, for all that decides what they come to and nothing else."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.commands.cli import main
from pgolf.identity.fingerprint import digest
from pgolf.pipeline.before_stages import ready_to_run
from pgolf.pipeline.configuration import configurations, data_inputs_of
from pgolf.pipeline.from_python import run
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.overview import overview_of
from pgolf.pipeline.place import Place
from pgolf.recipes.overrides import validated
from pgolf.store.content import Memo
from pgolf.tables.parquet import read
from pgolf.tables.schema import DECLARATIONS, SCORES, SEEDS
from tests.tiny import tiny_arguments, tiny_recipe, write_documents

KILLED = """
import os, signal, sys
from pathlib import Path
from pgolf.pipeline.from_python import run
from tests.tiny import tiny_recipe
folder = Path(sys.argv[1])
def say(text):
    if text.startswith("✓ score[1]"):
        os.kill(os.getpid(), signal.SIGKILL)
run(tiny_recipe(), documents=folder / "docs.jsonl", store=folder / "store", results=folder / "results", say=say)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_documents(tmp_path_factory.mktemp("documents"))


@pytest.fixture(scope="module")
def memo(tmp_path_factory):
    return Memo(tmp_path_factory.mktemp("memo") / "memo")


def keys(recipe, sources, memo):
    nodes = pipeline(recipe, sources)
    return {seed: digest(one) for seed, one in configurations(nodes, data_inputs_of(nodes, memo)).items()}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (["mix.alphas=0.1,0.4"], True),
        (["count.orders=2,3,4"], True),
        (["headline.alpha=0.3"], True),
        (["tags=a", "notes=b", "run_name=c", "description=d"], True),
        (["train.steps=5"], False),
        (["model.mlp_width=128"], False),
        (["calibrate.batches=2"], False),
        (["compress.zstd_levels=5"], False),
        (["score.stride=16", "count.stride=16"], False),
        (["tokenize.val_one_in=5"], False),
    ],
    ids=lambda value: "same" if value is True else "other" if value is False else value[0],
)
def test_a_configuration_is_what_decides_a_seed_and_no_mixture_or_name(sources, memo, change, same):
    before, after = keys(tiny_recipe(), sources, memo), keys(tiny_recipe(*change), sources, memo)
    assert len(set(before.values())) == 1
    assert set(before) == {1, 2}
    assert (before == after) is same


def test_other_files_are_another_configuration_and_weights_from_a_file_are_no_training(sources, memo, tmp_path):
    trained = keys(tiny_recipe(), sources, memo)
    (tmp_path / "docs.jsonl").write_text(sources.documents.read_text() + '{"text": "one more"}\n')
    other = type(sources)(documents=tmp_path / "docs.jsonl")
    assert keys(tiny_recipe(), other, memo) != trained
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode())
    files = {1: tmp_path / "one"}
    imported = keys(tiny_recipe(), type(sources)(documents=sources.documents, checkpoints=files), memo)
    assert imported[1] != trained[1]
    assert imported[2] == trained[2]
    steps = type(sources)(documents=sources.documents, checkpoints={1: tmp_path / "two"}, checkpoint_steps={1: 7})
    assert keys(tiny_recipe(), steps, memo) == imported


@pytest.mark.parametrize("wrong", [["--set", "mix.alphas=0.1"], ["--seeds", "1,1"], ["--device", "cuda"]])
def test_a_run_that_is_refused_has_declared_nothing(sources, tmp_path, wrong, capsys):
    arguments = tiny_arguments(sources.documents.parent)
    places = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    assert main(["run", *arguments, *places, *wrong]) == 2
    assert not (tmp_path / "results").exists(), capsys.readouterr().err


def test_who_hands_a_run_on_to_a_flow_leaves_the_declaration_to_it(sources, tmp_path):
    fields = {"documents": sources.documents, "store": tmp_path / "store", "results": tmp_path / "results"}
    place = validated(Place, fields)
    for hands_on, rows in ((True, [0, 0]), (False, [1, 2])):
        ready_to_run(
            tiny_recipe(),
            place,
            place.open_store(),
            place.memo(),
            evaluation_only=False,
            handed_on=lambda _steps, answer=hands_on: answer,
        )
        assert [read(place.results, spec).num_rows for spec in (DECLARATIONS, SEEDS)] == rows


def test_a_run_that_prefect_cannot_take_has_declared_nothing(sources, tmp_path, capsys):
    """It is refused after the plan, by the command."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl"))
    odd.write_bytes(sources.documents.read_bytes())
    arguments = tiny_arguments(sources.documents.parent)
    places = ["--documents", str(odd), "--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    assert main(["run", *arguments, *places]) == 2
    assert "add --no-prefect" in capsys.readouterr().err
    assert read(tmp_path / "results", SEEDS).num_rows == 0


def test_a_seed_that_was_killed_is_missing_until_it_is_run(sources, tmp_path, capsys):
    """With a real kill, after the score of the first seed; then without the second, then with it alone."""
    (tmp_path / "docs.jsonl").write_bytes(sources.documents.read_bytes())
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    killed = subprocess.run(
        [sys.executable, "-m", "tests.program", KILLED, str(tmp_path)], cwd=root, env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    results = tmp_path / "results"
    assert read(results, SCORES).num_rows == 0
    assert sorted(read(results, SEEDS).column("seed").to_pylist()) == [1, 2]
    assert main(["results", "--results", str(results)]) == 0
    assert "demo: seeds 1, 2 were declared " in capsys.readouterr().out

    where = {"documents": tmp_path / "docs.jsonl", "store": tmp_path / "store", "results": results}
    one = run(tiny_recipe("seeds=1"), **where, say=lambda _: None)
    assert [(seed.seed, seed.removed) for seed in one.missing_seeds] == [(2, "")]
    assert "1 of 2" in str(one)
    assert "demo: seed 2 was declared " in str(one)
    assert {(row["n"], row["seed 2 (bpb)"]) for row in overview_of(one.outcome).rows} == {("1 of 2", "missing")}
    page = one.report.read_text()
    assert "demo: seed 2 was declared " in page
    assert "one seed of 2" in page
    assert main(["results", "--results", str(results)]) == 0
    told = capsys.readouterr().out
    assert "1 of 2" in told
    assert "demo: seed 2 was declared " in told
    assert main(["results", "--results", str(results), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [seed["seed"] for seed in told["missing_seeds"]] == [2]
    assert {(row["n"], row["n_declared"]) for row in told["ranking"]} == {(1, 2)}

    arguments = tiny_arguments(tmp_path)
    place = arguments.index("--seeds") + 1
    assert main(["run", *arguments[:place], "2", *arguments[place + 2 :], "--no-prefect"]) == 0
    assert "declared, too: seed 1, with scores of another run" in capsys.readouterr().out
    assert main(["results", "--results", str(results)]) == 0
    told = capsys.readouterr().out
    assert " of 2" not in told
    assert "declared, too" not in told
    assert "no result" not in told
    assert one.missing_seeds == ()
    assert read(results, SEEDS).num_rows == 2, "the same seeds again declare nothing"
