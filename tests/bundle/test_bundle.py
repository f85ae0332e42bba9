"""The self-contained script: alone in a folder it scores as the pipeline does, and trains."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.bundle_mutations import NOT_ENTERED, RANKS, UNCOUNTED, entered
from bench.bundle_mutations import WRONG as WRONG_INPUT
from flows.commands import cli
from pgolf.bundle.bundle import built, bundle, settings_of
from pgolf.bundle.explain import Explained, map_path, write_map
from pgolf.bundle.log_lines import ScoreRead, headline_in, scorer_named, scores_in
from pgolf.bundle.settings_read import settings_in
from pgolf.corpus.data_files import find_data
from pgolf.errors import ConfigError
from pgolf.identity.closure import code_digests, import_closure
from pgolf.pack.container import pack, serialize, unpack
from pgolf.pack.named_arrays import Content
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import Sources, pipeline
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Store
from pgolf.store.content import Memo
from pgolf.submission.own_score import own_scores
from pgolf.submission.seed_log import evaluation_log, seed_log
from tests.identity.test_closure import write_package
from tests.tiny import tiny_recipe, write_documents

SEED = 1
REPOSITORY = Path(__file__).resolve().parents[2]
ENTERED = str(REPOSITORY / "bench/entered.py")
MODULES = {
    "pgolf.bundle.standalone": (
        "from pgolf.model.gpt import run\n\ndef main(arguments, recipe, script, environment):\n    return run()\n"
    ),
    "pgolf.model.gpt": "def run():\n    return 7\n",
    "pgolf.corpus.fetch_stage": "def make():\n    return 'not shipped'\n",
}

# Writes the name of every file that is opened and every module that is imported while a rank runs the script.
WATCHER = """
import json, os, runpy, sys
from pathlib import Path
account = runpy.run_path(sys.argv.pop(1))
opened, imported = set(), set()
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.add(arguments[0])
    elif event == "import":
        imported.add(arguments[0])
sys.addaudithook(hook)
script, report, sys.argv[1:] = sys.argv[1], sys.argv[2], sys.argv[3:]
sys.argv[0] = script
end = os._exit
def write_and_end(code):
    seen = json.dumps([sorted(opened), sorted(imported)])
    with open(f"{report}-{os.environ['RANK']}", "w") as file:
        file.write(seen)
    end(code)
os._exit = write_and_end
account["run"](Path(f"{report}-entered"), script, sys.argv[1:])
"""

# Runs the script once for every list of arguments, in one process: nine tenths of a start are imports.
AGAIN_AND_AGAIN = """
import contextlib, io, json, runpy, sys
from pathlib import Path
script, account = sys.argv[1], runpy.run_path(sys.argv[3])
for number, arguments in enumerate(json.loads(sys.argv[2])):
    code, out, errors = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            account["run"](Path(f"entered{number}").absolute(), script, arguments)
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), errors.getvalue()]))
"""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    hint = 'hint={"window": 64, "stride": 32, "orders": [3], "delay_targets": 40}'
    return tiny_recipe(
        f"seeds={SEED}", hint, 'mix.hedges=[{"chunk_tokens": 128, "warmup_tokens": 64, "trigram_rows": 64}]'
    )


@pytest.fixture(scope="module")
def bundled(recipe, tmp_path_factory) -> tuple[Recipe, Sources, Store, Memo]:
    """The recipe, its documents, and where its outputs are kept."""
    folder = tmp_path_factory.mktemp("bundled")
    sources = write_documents(folder)
    # Normalization drops every second space, so that the script has to count by the byte shards too.
    path = folder / "docs.jsonl"
    path.write_text(path.read_text().replace(". ", ".  "))
    return recipe, sources, Store(folder / "store"), Memo(folder / "memo")


@pytest.fixture(scope="module")
def artifacts(bundled) -> dict[str, Artifact]:
    recipe, sources, store, memo = bundled
    made = build_all(pipeline(recipe, sources), store, memo, RunOptions(device="cpu"))
    assert made["data"].record.facts["bytes_by"] == "text"
    return made


def put_alone(folder: Path, recipe: Recipe, artifacts: dict[str, Artifact]) -> Path:
    """The script, the packed model, the tokenizer and the shards into a folder."""
    data = artifacts["data"].path
    for path in (*data.glob("datasets/*/*.bin"), *data.glob("tokenizers/*.model")):
        shutil.copy(path, folder / path.name)
    shutil.copy(artifacts[f"compress[{SEED}]"].path / "model.pgolf", folder / "model.pgolf")
    made = built(recipe)
    (folder / "train_gpt.py").write_bytes(made.script)
    write_map(made, map_path(folder / "train_gpt.py"))
    return folder


@pytest.fixture
def alone(recipe, artifacts, tmp_path) -> Path:
    """A folder with all that the script needs, and nothing else."""
    return put_alone(tmp_path, recipe, artifacts)


def run_python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """In another process, from the folder `elsewhere`, with no way to this repository but site-packages."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    (folder / "elsewhere").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder / "elsewhere",
        env={**environment, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def put_as_published(folder: Path) -> None:
    """Move shards and tokenizer to where the challenge's repository has them, below the folder `elsewhere`."""
    data = folder / "elsewhere/data"
    for pattern, place in (("*.bin", data / "datasets/documents10B_sp300"), ("*.model", data / "tokenizers")):
        place.mkdir(parents=True)
        for path in folder.glob(pattern):
            path.rename(place / path.name)


def masked(log: str) -> list[str]:
    """The lines of a log, without what a clock said."""
    return [re.sub(r"\d[\d,.]*( s\b| ms/step| tokens/s)", r"…\1", line) for line in log.splitlines()]


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def test_two_ranks_alone_in_a_folder_give_the_pipelines_numbers_to_the_last_digit(bundled, artifacts, tmp_path):
    """Under torchrun; the pipeline scores in one process."""
    recipe, _sources, _store, _memo = bundled
    folder = put_alone(tmp_path, recipe, artifacts)
    _remove("*_train_*.bin", folder)  # only training needs them
    places = ["--data", str(folder), "--artifact", str(folder / "model.pgolf")]
    ran = _watched(tmp_path, "eval", *places)
    assert ran.returncode == 0, ran.stderr
    assert scores_in(ran.stdout) == _scores(artifacts, 4)
    assert masked(ran.stdout) == masked(evaluation_log(recipe, SEED, artifacts))


def test_two_ranks_train_pack_and_evaluate_at_one_command_as_the_pipeline_does(recipe, bundled, tmp_path):
    """By a network that learns what it has scored, alone."""
    without = ("hint=null", "estimators=[]", "mix.mixers=[]", "mix.hedges=[]")
    learning = 'score.ttt={"chunk_tokens": 128, "sequence_length": 64, "epochs": 1}'
    recipe = apply_overrides(recipe, (learning, *without))
    _recipe, sources, _store, memo = bundled
    made = build_all(pipeline(recipe, sources), Store(tmp_path / "store"), memo, RunOptions(device="cpu", processes=2))
    put_as_published(put_alone(tmp_path, recipe, made))
    ran = _watched(tmp_path, "--seed", str(SEED), SEED="77")
    assert ran.returncode == 0, ran.stderr
    assert masked(ran.stdout) == masked(seed_log(recipe, SEED, made))
    (network,) = scores_in(ran.stdout)
    assert [network] == _scores(made, 1)
    assert headline_in(ran.stdout) == (network.loss_nats, network.bpb)
    assert ran.stdout.splitlines()[-1] == f"val_loss:{network.loss_nats!r} val_bpb:{network.bpb!r}"
    assert (tmp_path / "elsewhere/model.pgolf").read_bytes() == (tmp_path / "model.pgolf").read_bytes()
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["data", "model.pgolf"]
    assert _not_entered_because(RANKS) <= entered(built(recipe), [tmp_path / "watched-entered"])


def _not_entered_because(why: str) -> set[str]:
    return {name for name, reason in NOT_ENTERED.items() if reason == why}


def test_what_is_wrong_for_all_ranks_is_one_sentence_of_one(alone):
    ran = run_python(alone, *TORCHRUN, str(alone / "train_gpt.py"), "--data", str(alone), SEED="4.2")
    assert ran.returncode != 0
    assert ran.stdout == ""
    assert ran.stderr.count("SEED or --seed is '4.2', no whole number from 0 to 4294967295\n") == 1
    assert "Traceback (most" not in ran.stderr.partition("torch/distributed/elastic")[0]
    assert "LaunchError" not in ran.stderr


def _watched(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script on two ranks, of which neither may open a file of the repository."""
    watcher, watched = folder / "watcher.py", folder / "watched"
    watcher.write_text(WATCHER)
    account = shutil.copy(ENTERED, folder / "entered.py")
    script = str(folder / "train_gpt.py")
    ran = run_python(folder, *TORCHRUN, str(watcher), str(account), script, str(watched), *arguments, **variables)
    for rank in (0, 1) if ran.returncode == 0 else ():
        opened, imported = json.loads(Path(f"{watched}-{rank}").read_text())
        ours = [name for name in opened if name.startswith(str(REPOSITORY)) and "/.venv/" not in name]
        assert not ours, "the script reads files of the repository, so its length is not what the code takes"
        assert {name.partition(".")[0] for name in imported} & {"prefect", "flows", "tasks"} == set()
    return ran


def _scores(made: dict[str, Artifact], scorers: int) -> list[ScoreRead]:
    """What the script should print: the pipeline's cells."""
    cells = pq.read_table(made[f"mix[{SEED}]"].path / "cells.parquet").to_pylist()
    assert len(cells) == scorers
    told = ("loss_nats", "bpb", "targets", "bytes", "normalized", "causal", "mass_mean")
    return [ScoreRead(name=scorer_named(cell), **{name: cell[name] for name in told}) for cell in cells]


def test_one_command_alone_in_a_folder_is_the_pipelines_seed_and_its_log(alone, recipe, artifacts):
    put_as_published(alone)
    ran = run_python(alone, str(alone / "train_gpt.py"), SEED=str(SEED))
    assert ran.returncode == 0, ran.stderr
    assert masked(ran.stdout) == masked(seed_log(recipe, SEED, artifacts))
    facts = artifacts[f"compress[{SEED}]"].record.facts
    assert facts["code_bytes"] == len(bundle(recipe))
    # The same threads and ranks as the pipeline's training: the same model, to the last byte.
    assert (alone / "elsewhere/model.pgolf").read_bytes() == (alone / "model.pgolf").read_bytes()
    # The declared mixture with exact counts is a code length, the one with hashed counts, which is lower, is none.
    network, exact, hashed, _hedge = scores_in(ran.stdout)
    assert hashed.bpb < exact.bpb < network.bpb
    assert headline_in(ran.stdout) == (exact.loss_nats, exact.bpb)
    assert (hashed.normalized, exact.normalized) == (False, True)


def _put_another_beside(folder: Path) -> None:
    (folder / "other").mkdir()
    for path in folder.glob("*val*.bin"):
        shutil.copy(path, folder / "other" / path.name)


def _put_another_model(folder: Path) -> None:
    """Of tensors of the same shapes, so that nothing but its config says that it is another."""
    content = unpack((folder / "model.pgolf").read_bytes(), where="the model")
    config = content.meta["model_config"] | {"rope_base": 500.0}
    other = Content(content.meta | {"model_config": config}, content.arrays)
    (folder / "model.pgolf").write_bytes(pack(serialize(other), 1))


def _put_a_model_of_another_version(folder: Path) -> None:
    content = unpack((folder / "model.pgolf").read_bytes(), where="the model")
    other = Content(content.meta | {"model_config": {"depth": 3}}, content.arrays)
    (folder / "model.pgolf").write_bytes(pack(serialize(other), 1))


def _leave_bytes_to_the_tokenizer(folder: Path) -> None:
    """And have that twice: copies are one."""
    _remove("*_val_bytes_*.bin", folder)
    for path in folder.glob("*.model"):
        shutil.copy(path, folder / "copy.model")


def _remove(pattern: str, folder: Path) -> None:
    for path in folder.glob(pattern):
        path.unlink()


def _nothing(_folder: Path) -> None:
    pass


# Command, what is wrong in the folder, what is said.
WRONG = [
    ("eval", partial(_remove, "*.model"), "0 tokenizers (*.model) under"),
    ("eval", lambda folder: (folder / "model.pgolf").write_bytes(b"nothing"), "ArtifactError"),
    ("eval", _put_another_beside, "2 data sets"),
    ("eval", _put_a_model_of_another_version, "its model_config is none that this version accepts"),
    (
        "eval",
        lambda folder: (folder / "manifest.json").symlink_to("nowhere"),
        "manifest.json: not a manifest of data sets",
    ),
    ("eval --data nowhere", _nothing, "nowhere: cannot be read (No such file or directory)"),
    ("eval", _put_another_model, "another network than this script's recipe"),
    ("eval", partial(_remove, "*val*.bin"), "no validation shard, fineweb_val_000000.bin"),
    ("eval --seed 7", _nothing, "eval takes no --seed"),
    ("train", partial(_remove, "*_train_*.bin"), "holds no train shards, only 1 validation shards"),
    ("train --seed -1", _nothing, "SEED or --seed is '-1', no whole number from 0 to 4294967295"),
    ("train --device cuda", _nothing, "device cuda requested, but there is no GPU"),
    ("train --artifact nowhere/model.pgolf", _nothing, "No such file or directory"),
]


def test_one_process_gives_the_same_numbers_and_says_what_is_missing_without_a_traceback(
    alone, recipe, artifacts, tmp_path
):
    calls = []
    right = [("eval", _nothing, ""), ("eval", _leave_bytes_to_the_tokenizer, "")]
    for number, (command, spoil, _says) in enumerate([*right, *WRONG]):
        folder = tmp_path / f"copy{number}"
        shutil.copytree(alone, folder, ignore=shutil.ignore_patterns("copy*"))
        spoil(folder)
        calls.append(["--data", str(folder), "--artifact", str(folder / "model.pgolf"), *command.split()])
    ran = run_python(alone, "-c", AGAIN_AND_AGAIN, str(alone / "train_gpt.py"), json.dumps(calls), ENTERED)
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(told) == len(right) + len(WRONG), ran.stderr
    assert [code for code, _out, _errors in told[: len(right)]] == [0, 0], told[: len(right)]
    assert scores_in(told[0][1]) == _scores(artifacts, 4)
    uncounted = scores_in(told[1][1])
    assert [one.loss_nats for one in uncounted] == [one.loss_nats for one in _scores(artifacts, 4)]
    assert uncounted[0].bytes < _scores(artifacts, 4)[0].bytes  # that normalization dropped
    explained = Explained(alone / "train_gpt.py")
    for (code, out, errors), (_command, _spoil, says) in zip(told[len(right) :], WRONG, strict=True):
        assert says in explained.output(errors), errors
        assert "Traceback" not in errors
        assert (code, out) == (1 if says.startswith("No such file") else 2, "")
    script = built(recipe)
    reports = [alone / f"elsewhere/entered{number}" for number in range(len(calls))]
    assert _not_entered_because(UNCOUNTED) <= entered(script, reports[1:2])
    assert _not_entered_because(WRONG_INPUT) <= entered(script, reports[len(right) :])


def test_a_log_says_why_it_cannot_be_of_this_seed(recipe, artifacts):
    assert seed_log(recipe, SEED, artifacts, evaluation="what it printed").endswith(" s\nwhat it printed\n")
    with pytest.raises(ConfigError, match=r"mix\[1\] is not finished, or the store holds its output no more"):
        seed_log(recipe, SEED, {name: one for name, one in artifacts.items() if name != "mix[1]"})
    with pytest.raises(ConfigError, match="the weights of seed 1 were imported"):
        seed_log(recipe, SEED, artifacts | {"import[1]": artifacts["train[1]"]})
    with pytest.raises(ConfigError, match=r'"order": 2.* is not among the 4 scorers of this run'):
        seed_log(apply_overrides(recipe, ["headline.order=2"]), SEED, artifacts)


def test_the_script_holds_what_it_runs_and_nothing_else(recipe, tmp_path):
    write_package(tmp_path, MODULES)
    script = tmp_path / "script.py"
    script.write_bytes(bundle(recipe, root=tmp_path))
    ran = subprocess.run([sys.executable, str(script)], check=False, timeout=60, cwd=tmp_path)
    assert ran.returncode == 7
    before = len(script.read_bytes())
    (tmp_path / "pgolf/corpus/fetch_stage.py").write_text("def make():\n    return 'something else, and much longer'\n")
    assert len(bundle(recipe, root=tmp_path)) == before


def test_the_script_and_the_stages_keys_parse_a_module_once(recipe, tmp_path, monkeypatch):
    # A number no other test writes: texts that were seen before are not parsed at all.
    write_package(tmp_path, MODULES | {"pgolf.model.gpt": "def run():\n    return 715_638\n"})
    parse, parsed = ast.parse, []

    def counted(source, *more, **options):
        if isinstance(source, bytes):  # what the bundle writes itself it parses as text
            parsed.append(source)
        return parse(source, *more, **options)

    monkeypatch.setattr(ast, "parse", counted)
    script = bundle(recipe, root=tmp_path)
    assert len(parsed) == len(import_closure("pgolf.bundle.standalone", root=tmp_path)) == 4
    code_digests("pgolf.bundle.standalone", root=tmp_path)
    assert bundle(recipe, root=tmp_path) == script
    assert len(parsed) == 4
    # The other way round, the keys keep no trees for a script that may never be asked for.
    other = tmp_path / "other"
    write_package(other, MODULES | {"pgolf.model.gpt": "def run():\n    return 745_761\n"})
    code_digests("pgolf.bundle.standalone", root=other)
    assert bundle(recipe, root=other) != script
    assert parsed.count(b"def run():\n    return 745_761\n") == 2


def test_comments_docstrings_annotations_and_layout_cost_nothing_and_code_does(recipe, tmp_path):
    write_package(tmp_path, MODULES)
    path = tmp_path / "pgolf/model/gpt.py"
    before = bundle(recipe, root=tmp_path)
    prose = '"""The network."""\n\n# why\ndef run() -> int:\n    """One."""\n    return (\n        7\n    )  # one\n'
    path.write_text(prose)
    assert bundle(recipe, root=tmp_path) == before
    path.write_text("def run():\n    return 'something that takes room: 0123456789 abcdefghijklmnopqrstuvwxyz'\n")
    assert len(bundle(recipe, root=tmp_path)) > len(before)


def test_the_same_recipe_gives_the_same_bytes_and_another_one_other_bytes(recipe):
    assert bundle(recipe) == bundle(recipe)
    assert bundle(recipe) != bundle(tiny_recipe(f"seeds={SEED}", "score.stride=16", "count.stride=16"))
    # A grid is no part of a submission, and other settings of the same evaluation take no more room.
    grids = [tiny_recipe(f"seeds={SEED}", f"mix.alphas={alphas}") for alphas in ("0.4", "0.1,0.2,0.4")]
    assert bundle(grids[0]) == bundle(grids[1])
    assert len(bundle(grids[0])) == len(bundle(tiny_recipe(f"seeds={SEED}", "score.stride=16", "count.stride=16")))
    # Seeds, names and where the text comes from are not part of what it does.
    assert bundle(recipe) == bundle(recipe.model_copy(update={"seeds": (5,), "name": "other", "description": "x"}))


def test_every_module_of_the_script_parses(recipe):
    tree = ast.parse(bundle(recipe))
    assert tree.body
    assert "pgolf.bundle.standalone" in import_closure("pgolf.bundle.standalone")
    assert not {"pgolf.pipeline.graph", "pgolf.store.artifact"} & import_closure("pgolf.bundle.standalone").keys()


def test_in_the_clean_room_a_folder_gives_the_pipelines_scores_and_pgolfs_own_code_gives_the_same(
    recipe, artifacts, tmp_path, capsys
):
    """And a model of another recipe is refused by both."""
    folder, data = tmp_path / "submission", str(artifacts["data"].path)
    folder.mkdir()
    (folder / "train_gpt.py").write_bytes(bundle(recipe))
    shutil.copy(artifacts[f"compress[{SEED}]"].path / "model.pgolf", folder)
    assert cli.main(["check-submission", str(folder), "--data", data, "--json"]) == 1
    found = {one["check"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    wrong = {name for name, one in found.items() if one["passed"] is False}
    assert wrong == {"files", "json", "requirements"}  # of which this folder has none
    assert "imports numba, pyarrow, safetensors, zstandard" in found["requirements"]["said"]
    assert "opened model.pgolf, train_gpt.py and 3 files of the data" in found["clean room"]["said"]
    says = [f"5 scores, each the same to the last digit, the last {one.bpb!r}" for one in _scores(artifacts, 4)]
    assert found["own score"]["said"] in says
    _put_another_model(folder)
    settings = settings_in(bundle(recipe))
    assert settings == settings_of(recipe)
    with pytest.raises(ConfigError, match=r"is of another recipe than the script \(rope_base 500.0, not"):
        own_scores(settings, folder / "model.pgolf", find_data(Path(data)))
