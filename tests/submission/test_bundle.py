"""The self-contained script: alone in a folder it scores as the pipeline does, and trains."""

import ast
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

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
from pgolf.submission.bundle import built, bundle
from pgolf.submission.explain import Explained, map_path, write_map
from tests.identity.test_closure import write_package
from tests.tiny import tiny_recipe, write_documents

SEED = 1
REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = {
    "pgolf.submission.standalone": (
        "from pgolf.model.gpt import run\n\ndef main(arguments, recipe, script):\n    return run()\n"
    ),
    "pgolf.model.gpt": "def run():\n    return 7\n",
    "pgolf.corpus.fetch_stage": "def make():\n    return 'not shipped'\n",
}

# Writes the name of every file that is opened and every module that is imported while a rank runs the script.
WATCHER = """
import json, os, runpy, sys
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
runpy.run_path(script, run_name="__main__")
"""

# Runs the script once for every list of arguments, in one process: nine tenths of a start are imports.
AGAIN_AND_AGAIN = """
import contextlib, io, json, runpy, sys
script = sys.argv[1]
for arguments in json.loads(sys.argv[2]):
    sys.argv = [script, *arguments]
    code, out, errors = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            runpy.run_path(script, run_name="__main__")
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


def run_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script in another process, from another folder, with no way to this repository but site-packages."""
    return run_python(folder, str(folder / "train_gpt.py"), *arguments)


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    (folder / "elsewhere").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder / "elsewhere",
        env={**environment, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


# Evaluations of the same packed model, and how many scorers they tell of: with hints, counts and all mixtures; and by a
# network that learns what it has scored, alone.
EVALUATIONS = {
    "plain": ((), 4),
    "test-time training": (
        (
            'score.ttt={"chunk_tokens": 128, "sequence_length": 64, "epochs": 1}',
            *("hint=null", "estimators=[]", "mix.mixers=[]", "mix.hedges=[]"),
        ),
        1,
    ),
}


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_two_ranks_alone_in_a_folder_give_the_pipelines_numbers_to_the_last_digit(
    bundled, artifacts, tmp_path, evaluation
):
    """Under torchrun; the pipeline scores in one process."""
    recipe, sources, store, memo = bundled
    overrides, scorers = EVALUATIONS[evaluation]
    recipe = apply_overrides(recipe, overrides)
    made = build_all(pipeline(recipe, sources), store, memo, RunOptions(device="cpu"))
    # Its code takes other bytes, but the weights that are packed are the same.
    weights = [one[f"compress[{SEED}]"].outputs["weights"] for one in (made, artifacts)]
    assert weights[0] == weights[1]
    folder = put_alone(tmp_path, recipe, made)
    _remove("*_train_*.bin", folder)  # only training needs them
    watcher, watched = tmp_path / "watcher.py", tmp_path / "watched"
    watcher.write_text(WATCHER)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    places = ["--data", str(folder), "--artifact", str(folder / "model.pgolf")]
    ran = run_python(folder, *torchrun, str(watcher), str(folder / "train_gpt.py"), str(watched), "eval", *places)
    assert ran.returncode == 0, ran.stderr
    assert _scores(ran.stdout) == _cells(made, scorers)
    for rank in (0, 1):
        opened, imported = json.loads(Path(f"{watched}-{rank}").read_text())
        ours = [name for name in opened if name.startswith(str(REPOSITORY)) and "/.venv/" not in name]
        assert not ours, "the script reads files of the repository, so its length is not what the code takes"
        assert {name.partition(".")[0] for name in imported} & {"prefect", "flows", "tasks"} == set()


def _scores(printed: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in printed.splitlines()]


def _cells(made: dict[str, Artifact], scorers: int) -> list[dict[str, object]]:
    """What the script should print: the pipeline's cells."""
    cells = pq.read_table(made[f"mix[{SEED}]"].path / "cells.parquet").to_pylist()
    told = ("loss_nats", "bpb", "targets", "bytes", "normalized", "causal", "mass_mean")
    rows = [{"scorer": json.loads(cell["cell"]), **{name: cell[name] for name in told}} for cell in cells]
    assert len(rows) == scorers
    return rows


def test_training_alone_in_a_folder_packs_a_model_that_scores(alone, recipe, artifacts):
    own = alone / "own.pgolf"
    trained = run_script(alone, "train", "--data", str(alone), "--artifact", str(own), "--seed", str(SEED))
    assert trained.returncode == 0, trained.stderr
    facts = json.loads(trained.stdout.splitlines()[-1])
    assert facts["code_bytes"] == len(bundle(recipe)) == artifacts[f"compress[{SEED}]"].record.facts["code_bytes"]
    # The same threads and ranks as the pipeline's training: the same model, to the last byte.
    assert own.read_bytes() == (alone / "model.pgolf").read_bytes()


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


def _remove(pattern: str, folder: Path) -> None:
    for path in folder.glob(pattern):
        path.unlink()


# Command, what is wrong in the folder, what is said.
WRONG = [
    ("eval", partial(_remove, "*.model"), "0 tokenizers (*.model) under"),
    ("eval", lambda folder: (folder / "model.pgolf").write_bytes(b"nothing"), "ArtifactError"),
    ("eval", _put_another_beside, "2 data sets"),
    ("eval", _put_another_model, "another network than this script's recipe"),
    ("eval", partial(_remove, "*val*.bin"), "no validation shard, fineweb_val_000000.bin"),
    ("train", partial(_remove, "*_train_*.bin"), "holds no train shards, only 1 validation shards"),
]


def test_one_process_gives_the_same_numbers_and_says_what_is_missing_without_a_traceback(alone, artifacts, tmp_path):
    calls = []
    for number, (command, spoil, _says) in enumerate([("eval", lambda _folder: None, ""), *WRONG]):
        folder = tmp_path / f"copy{number}"
        shutil.copytree(alone, folder, ignore=shutil.ignore_patterns("copy*"))
        spoil(folder)
        calls.append([command, "--data", str(folder), "--artifact", str(folder / "model.pgolf")])
    ran = run_python(alone, "-c", AGAIN_AND_AGAIN, str(alone / "train_gpt.py"), json.dumps(calls))
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(told) == 1 + len(WRONG), ran.stderr
    assert told[0][0] == 0, told[0][2]
    assert _scores(told[0][1]) == _cells(artifacts, 4)
    explained = Explained(alone / "train_gpt.py")
    for (code, out, errors), (_command, _spoil, says) in zip(told[1:], WRONG, strict=True):
        assert says in explained.output(errors), errors
        assert "Traceback" not in errors
        assert (code, out) == (2, "")


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
    assert len(parsed) == len(import_closure("pgolf.submission.standalone", root=tmp_path)) == 4
    code_digests("pgolf.submission.standalone", root=tmp_path)
    assert bundle(recipe, root=tmp_path) == script
    assert len(parsed) == 4
    # The other way round, the keys keep no trees for a script that may never be asked for.
    other = tmp_path / "other"
    write_package(other, MODULES | {"pgolf.model.gpt": "def run():\n    return 745_761\n"})
    code_digests("pgolf.submission.standalone", root=other)
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
    assert "pgolf.submission.standalone" in import_closure("pgolf.submission.standalone")
    assert not {"pgolf.pipeline.graph", "pgolf.store.artifact"} & import_closure("pgolf.submission.standalone").keys()
