"""What a machine cannot run is said before anything starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.commands.cli import main
from pgolf.corpus.tokenizer import train_tokenizer
from pgolf.errors import ConfigError
from pgolf.machine.hardware import ranks_for
from pgolf.machine.lease import lease
from pgolf.mix.cells import cells_of
from pgolf.pipeline.graph import Sources, pipeline
from pgolf.pipeline.plan import make_plan
from pgolf.pipeline.preflight import check_run, refusals
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from pgolf.tables.detail_tables import DETAILS
from pgolf.tables.file_names import DETAIL_FOLDERS, FOLDERS, longest_name
from pgolf.tables.schema import TABLES
from tests.data_folder import write_data_folder
from tests.fake_driver import gpu
from tests.tiny import write_documents


def check(tmp_path, name, *overrides, sources=Sources(), results=None, evaluation_only=False, **options):  # noqa: B008
    recipe = apply_overrides(recipe_named(name), overrides)
    run = RunOptions(**options)
    steps = make_plan(pipeline(recipe, sources, run), Store(tmp_path / "store"), Memo(tmp_path / "memo"))
    folders = {"store": tmp_path / "store", "results": results or tmp_path / "results"}
    check_run(recipe, steps, run, **folders, evaluation_only=evaluation_only)


@pytest.mark.parametrize(
    ("gpus", "name", "overrides", "options", "says"),
    [
        (0, "pr715", [], {}, r"score\[1337\]: precision bfloat16 is computed on CUDA.*-tiny twin"),
        (8, "pr715", [], {"device": "cpu"}, "device cpu was asked for"),
        (0, "pr715-tiny", [], {"device": "cuda"}, "device cuda asked for, but the NVIDIA driver lists no GPU"),
        (8, "pr715", [], {"processes": 3}, "3 ranks cannot share 8 spans a step evenly; use 1, 2, 4, 8 ranks"),
        (4, "pr715", [], {"processes": 8}, "8 ranks asked for, but the driver lists 4 GPUs"),
        (8, "pr715-tiny", [], {"device": "cuda"}, "precision float32 is computed on a CPU, but device cuda"),
    ],
)
def test_what_the_machine_lacks_is_said_in_numbers(machine, tmp_path, gpus, name, overrides, options, says):
    machine(gpus)
    with pytest.raises(ConfigError, match=says):
        check(tmp_path, name, *overrides, **options)


@pytest.mark.parametrize(
    ("gpus", "name", "options"),
    [(8, "pr792", {}), (1, "pr745", {}), (8, "pr792", {"processes": 4}), (0, "pr792-tiny", {}), (0, "demo", {})],
)
def test_a_machine_that_has_all_passes(machine, tmp_path, gpus, name, options):
    machine(gpus)
    check(tmp_path, name, **options)


def test_a_training_that_a_gpu_has_no_memory_for_is_refused_unless_another_run_is_waited_for(machine, tmp_path):
    machine([gpu(n, memory_bytes=80 << 30, free_bytes=5 << 30, users=f"4711:{75 << 30}") for n in range(8)])
    with pytest.raises(
        ConfigError, match=r"train\[1337\] takes about 22 GiB of a GPU, GPU 0 has 5 GiB free of 80: used"
    ):
        check(tmp_path, "pr715", lease_dir=tmp_path)
    check(tmp_path, "pr715", "train.tokens_per_step=163840", lease_dir=tmp_path)
    with lease(tmp_path, ["gpu-GPU-a"], 1, log_line=pytest.fail):
        check(tmp_path, "pr715", lease_dir=tmp_path)


@pytest.mark.parametrize(
    ("gpus", "device", "spans", "ranks"),
    [(8, "auto", 8, 8), (7, "auto", 8, 4), (8, "auto", 4, 4), (1, "auto", 8, 1), (0, "auto", 8, 1), (8, "cpu", 8, 1)],
)
def test_unasked_a_training_takes_as_many_gpus_as_share_its_step_evenly(machine, gpus, device, spans, ranks):
    machine(gpus)
    assert ranks_for(RunOptions(device=device), spans) == ranks


def test_the_number_of_gpus_is_part_of_a_clocked_training_and_not_of_one_by_steps(machine):
    def training(name, gpus):
        machine(gpus)
        return next(node for node in pipeline(recipe_named(name)) if node.stage.name == "train")

    assert training("pr715", 8).hardware["processes"] == 8
    assert training("pr715", 8).hardware != training("pr715", 4).hardware
    assert training("pr638", 8).hardware == training("pr638", 1).hardware == {}


def test_a_run_is_refused_before_its_first_stage(machine, tmp_path, monkeypatch, capsys):
    machine(0)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "pr792", "--device", "cuda", "--no-prefect"]) == 2
    told = capsys.readouterr()
    assert "ConfigError: train[1337]: device cuda asked for" in told.err
    assert not list((tmp_path / "artifacts").glob("*-*"))
    # The plan says the same, and shows what would be to do on a node.
    assert main(["plan", "pr792", "--device", "cuda", "--price-per-hour", "23.92"]) == 2
    told = capsys.readouterr()
    assert "✗ `pgolf run` would refuse here: train[1337]: device cuda asked for" in told.out
    assert (
        "cost unknown (data, count ×2, train ×3, calibrate ×3, compress ×3, score ×3, mix ×3, audit[1337])" in told.out
    )
    assert told.err.startswith("cannot ask which commit fetch.revision=main of willdepueoai/parameter-golf is")
    assert main(["plan", "pr792", "--device", "cuda", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["refused"][0].startswith("train[1337]: device cuda asked for")
    assert not (tmp_path / "artifacts").exists()
    assert not (tmp_path / "results").exists()


CPU_DEMO = {"device": "cpu"}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.vocab_size=300"], r"train\[1337\]: model.vocab_size is 300, the tokenizer has 512 .*vocab_size=512"),
        (["tokenize.vocab_size=600"], r"model.vocab_size is 512, the tokenizer has 600 pieces"),
        (["headline.order=9"], "headline, backoff order 9 alpha 0.4, is no cell of the grid with hashed, exact counts"),
        (["headline.alpha=0.33"], "backoff order 5 alpha 0.33, is no cell"),
        (['mix.mixers=["dirichlet"]'], "is no cell of the grid"),
        (["mix.alphas=0.1,0.2"], "alpha 0.4, is no cell"),
        (["mix.orders=2,3"], "order 5 alpha 0.4, is no cell"),
        (["tokenize.name=" + 250 * "x"], "--set tokenize.name: a file would be named x{40}…x*.model, 256 bytes"),
        (['mix.hedges=[{"trigram_rows": 100000000}]'], "mix: 100,000,000 trigram rows .*the limit is"),
    ],
)
def test_what_a_later_stage_would_refuse_is_refused_before_the_first(machine, tmp_path, overrides, says):
    machine(0)
    with pytest.raises(ConfigError, match=says):
        check(tmp_path, "demo", *overrides, **CPU_DEMO)


def test_a_published_tokenization_is_known_by_its_name(machine, tmp_path):
    machine(8)
    with pytest.raises(ConfigError, match=r"model.vocab_size is 1,024, the tokenizer has 4,096 pieces"):
        check(tmp_path, "pr715", "fetch.variant=sp4096")


def test_data_of_a_smaller_vocabulary_is_refused_unless_the_rest_may_be_padding(machine, tmp_path, toy_tokenizer):
    """However the data comes: a network of 8,192 tokens would learn nothing of most of them from data of 1,024."""
    machine(8)
    large = ("model.vocab_size=8192", "fetch.repo_id=kevclark/parameter-golf")
    says = r"train\[1337\]: model.vocab_size is 8,192, the tokenizer has 1,024 pieces, so that 7,168 rows .*_size=1024"
    with pytest.raises(ConfigError, match=says):
        check(tmp_path, "pr715", *large)
    check(tmp_path, "pr715", *large, "fetch.variant=sp8192")
    data = write_data_folder(tmp_path / "data", val=[[1, 5, 9]], tokenizer=toy_tokenizer)
    with pytest.raises(ConfigError, match=r"model.vocab_size is 1,364, the tokenizer has 340 pieces, so that 1,024"):
        check(tmp_path, "demo", "model.vocab_size=1364", sources=Sources(data=data), **CPU_DEMO)
    check(tmp_path, "demo", "model.vocab_size=1363", sources=Sources(data=data), **CPU_DEMO)


def test_fewer_train_shards_than_data_ranks_are_refused_before_any_is_fetched(machine, tmp_path, toy_tokenizer):
    machine(8)
    says = r"train\[1337\]: train.data_ranks is 8, and each .* there are 5; add --set fetch.train_shards=8"
    with pytest.raises(ConfigError, match=says):
        check(tmp_path, "pr715", "train.batches=rows", "fetch.train_shards=5")
    check(tmp_path, "pr715", "train.batches=rows", "fetch.train_shards=8")
    check(tmp_path, "pr715", "fetch.train_shards=5")
    data = write_data_folder(tmp_path / "data", train=[[1, 2]] * 3, val=[[1, 5, 9]], tokenizer=toy_tokenizer)
    rows = ("train.batches=rows", "train.spans_per_step=4", "train.data_ranks=4", "train.tokens_per_step=4096")
    with pytest.raises(ConfigError, match=r"there are 3; add --set train.data_ranks=2"):
        check(tmp_path, "demo", *rows, sources=Sources(data=data), **CPU_DEMO)


def test_all_that_stands_against_a_run_is_said_at_once(machine, tmp_path):
    machine(0)
    with pytest.raises(ConfigError) as refused:
        check(tmp_path, "pr792", "headline.order=3", "model.vocab_size=512")
    first, *others = str(refused.value).splitlines()
    assert first == "3 things stand against this run:"
    assert len(others) == 3


@pytest.mark.parametrize("alpha", ["0.4", "null"])
@pytest.mark.parametrize(
    "grid",
    [
        (),
        ("mix.alphas=0:0.6:0.05",),
        ("mix.alphas=0.1", 'mix.also=[{"mixers": ["backoff"], "alphas": [0.4], "orders": [5]}]'),
        ('mix.estimators=["exact"]',),
    ],
)
def test_a_headline_that_is_a_cell_passes(machine, tmp_path, grid, alpha):
    machine(0)
    check(tmp_path, "demo", *grid, f"headline.alpha={alpha}", **CPU_DEMO)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("change", [(), ("headline.order=6",), ("headline.mixer=backoff", "headline.alpha=0.4")])
def test_the_headline_is_found_where_the_cells_of_the_grid_have_it(machine, tmp_path, name, change):
    """The cells, made one by one, as the definition; the check makes none."""
    machine(8)
    recipe = apply_overrides(recipe_named(name), change)
    wanted = {field: value for field, value in recipe.headline.model_dump().items() if value is not None}
    if recipe.headline.mixer == "adaptive":
        wanted.pop("alpha", None)
    counts = {estimator: recipe.count.of(estimator) for estimator in recipe.estimators}
    have = {
        cell.estimator
        for cell in cells_of(recipe.mix, counts, recipe.hinted)
        if all(getattr(cell, field) == value for field, value in wanted.items())
    }
    found = refusals(recipe, (), RunOptions(), store=tmp_path, results=tmp_path)
    assert ("is no cell" in " ".join(found)) == (not have >= set(recipe.estimators))


def test_a_sweep_need_not_hold_the_declared_headline(machine, tmp_path):
    machine(0)
    check(tmp_path, "demo", 'mix.mixers=["dirichlet"]', evaluation_only=True, **CPU_DEMO)


def test_a_given_tokenizer_is_opened_before_anything_runs(machine, tmp_path):
    machine(0)
    given = ("tokenize.source=documents", "tokenize.tokenizer=given")
    documents = write_documents(tmp_path).documents
    model = tmp_path / "given.model"
    model.write_bytes(
        train_tokenizer(["some words of a few documents and more words"] * 50, vocab_size=280, max_bytes=10**6)
    )
    with pytest.raises(ConfigError, match=r"has 280 pieces, tokenize.vocab_size is 512; add --set tokenize.vocab_size"):
        check(tmp_path, "demo", *given, sources=Sources(documents=documents, tokenizer=model), **CPU_DEMO)
    fitting = (*given, "tokenize.vocab_size=280")
    check(tmp_path, "demo", *fitting, sources=Sources(documents=documents, tokenizer=model), **CPU_DEMO)
    model.write_bytes(b"none")
    with pytest.raises(ConfigError, match="not a readable SentencePiece model"):
        check(tmp_path, "demo", *fitting, sources=Sources(documents=documents, tokenizer=model), **CPU_DEMO)


def test_the_tokenizer_of_shards_on_disk_is_opened_before_anything_runs(machine, tmp_path, toy_tokenizer):
    machine(0)
    data = write_data_folder(tmp_path / "data", val=[[1, 5, 9]], tokenizer=toy_tokenizer)
    sources = Sources(data=data)
    check(tmp_path, "demo", "model.vocab_size=340", sources=sources, **CPU_DEMO)
    says = r"train\[1337\]: model.vocab_size is 339, the tokenizer has 340 pieces; add --set model.vocab_size=340"
    with pytest.raises(ConfigError, match=says):
        check(tmp_path, "demo", "model.vocab_size=339", sources=sources, **CPU_DEMO)
    (data / "tokenizers/toy.model").write_bytes(b"none")
    with pytest.raises(ConfigError, match=r"^data: .*toy\.model: not a readable SentencePiece model"):
        check(tmp_path, "demo", sources=sources, **CPU_DEMO)
    # Without a manifest the file may be any that is given.
    for shard in (data / "datasets/toy").iterdir():
        shard.rename(tmp_path / "data" / shard.name)
    (data / "manifest.json").unlink()
    sources = Sources(data=data, tokenizer=toy_tokenizer)
    with pytest.raises(ConfigError, match=says):
        check(tmp_path, "demo", "model.vocab_size=339", sources=sources, **CPU_DEMO)


@pytest.mark.parametrize("part", ["", "scores", "figures"])
def test_results_that_are_no_folder_are_refused_before_anything_runs(machine, tmp_path, part):
    machine(0)
    results = tmp_path / "results"
    if part:
        results.mkdir()
    (results / part).write_text("a file")
    with pytest.raises(ConfigError, match=r"--results \S*results.*: not a folder; name another one"):
        check(tmp_path, "demo", results=results, **CPU_DEMO)
    with pytest.raises(ConfigError, match="not a folder"):
        check(tmp_path, "demo", results=results / part / "below", **CPU_DEMO)


def test_folders_that_cannot_be_written_to_are_named_by_plan_and_run(tmp_path):
    """In a process that modes bind, whoever runs the tests."""
    locked = tmp_path / "locked"
    (locked / "store").mkdir(parents=True)
    locked.chmod(0o555)
    (locked / "store").chmod(0o555)
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    if bound and subprocess.run([*bound, "true"], check=False, capture_output=True).returncode:
        pytest.skip("root, and setpriv cannot give up its rights to ignore modes")
    for command in (["plan"], ["run", "--no-prefect"]):
        places = ["--store", str(locked / "store"), "--results", str(locked / "results"), "--device", "cpu"]
        ran = subprocess.run(
            [*bound, sys.executable, "-m", "flows.commands.cli", *command, "demo", *places],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        said = ran.stdout + ran.stderr
        assert ran.returncode == 2, said
        assert f"--store {locked / 'store'}: cannot be written to; make it writable" in said
        assert f"--results {locked / 'results'} ({locked}): cannot be written to" in said
        assert "Traceback" not in said
    locked.chmod(0o755)


@pytest.mark.parametrize("option", ["--store", "--results", "--documents", "--tokenizer", "--data", "--checkpoint"])
@pytest.mark.parametrize("name", [256 * "x", "/".join(20 * ["y" * 200])], ids=["name", "path"])
def test_a_name_that_no_file_system_holds_is_said_to_be_too_long(tmp_path, monkeypatch, capsys, option, name):
    monkeypatch.chdir(tmp_path)
    for command in (["plan"], ["run", "--no-prefect"]):
        assert main([*command, "demo", "--seeds", "1", option, name]) == 2
        told = capsys.readouterr().err
        assert f"{option} " in told
        assert " bytes" in told
        assert "shorten it" in told
    assert list(tmp_path.iterdir()) == []


def test_the_folders_of_tables_are_those_of_their_declarations():
    assert (tuple(TABLES), tuple(table.name for table in DETAILS)) == (FOLDERS, DETAIL_FOLDERS)


def test_the_longest_name_of_a_recipe_leaves_room_for_its_tables():
    longest = Recipe.model_validate(recipe_named("demo").model_dump() | {"name": "x" * 100})
    assert len(longest_name(f"{longest.name}-{12 * '0'}-{22 * '0'}")) <= 200
    with pytest.raises(ValidationError, match="at most 100 characters"):
        Recipe.model_validate(recipe_named("demo").model_dump() | {"name": "x" * 101})
