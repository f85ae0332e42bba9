"""Published weights: taken in from the files of the original scripts, checked, and run from there on."""

import json
import pickle
import shlex

import pytest
import torch

from flows.commands.cli import main, parser
from flows.commands.import_command import run_with
from pgolf.errors import ConfigError, DataError
from pgolf.model.checkpoint import CONFIG_KEY, load_checkpoint, save_checkpoint
from pgolf.model.config import ModelConfig
from pgolf.model.init import initial_model
from pgolf.model.other_network import refuse_other_network
from pgolf.model.published import to_published
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import Sources, pipeline
from pgolf.pipeline.outcome import outcome_of
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo

SEED = 1337


def write_published(path, name, *overrides, seed=SEED, change=None):
    """The file a published script would have left: the initial weights of a recipe, in its layout."""
    config = apply_overrides(recipe_named(name), overrides).model
    state = to_published(config, initial_model(config, seed).state_dict())
    if change is not None:
        change(state)
    torch.save(state, path)
    return path


def write_ours(path, name, *overrides):
    """A checkpoint of ours, which says what network it is of."""
    config = apply_overrides(recipe_named(name), overrides).model
    save_checkpoint(path, config, initial_model(config, SEED).state_dict(), {"steps": "0"})
    return path


def import_into(folder, path, recipe, *more):
    return main(["import", str(path), "--recipe", recipe, "--store", str(folder / "store"), *more])


@pytest.mark.parametrize("name", ["pr715-tiny", "pr745-tiny", "pr792-tiny"])
def test_an_import_holds_the_very_weights_of_the_file(name, tmp_path, capsys):
    path = write_published(tmp_path / "final_model.pt", name)
    assert import_into(tmp_path, path, name, "--checkpoint-steps", "16", "--json") == 0
    told = capsys.readouterr()
    again = f"pgolf run {name} --seeds {SEED} --checkpoint {path} --checkpoint-steps 16 --store {tmp_path / 'store'}"
    assert again in told.err
    folder = json.loads(told.out)["folder"]
    checkpoint = load_checkpoint(next((tmp_path / "store").glob("import-*")) / "checkpoint.safetensors")
    assert folder.rsplit("/", 1)[-1].startswith("import-")
    model = recipe_named(name).model
    expected = initial_model(model, SEED).state_dict()
    assert checkpoint.config == model.as_read()
    assert checkpoint.state.keys() == expected.keys()
    assert all(torch.equal(checkpoint.state[tensor], expected[tensor]) for tensor in expected)
    assert checkpoint.facts["stream_position"] == str(16 * recipe_named(name).train.stream_tokens_per_step)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_weights_of_a_wrapped_network_are_imported_and_the_prefix_is_said(tmp_path, capsys, prefix):
    def wrap(state):
        for tensor in list(state):
            state[prefix + tensor] = state.pop(tensor)

    plain = write_published(tmp_path / "plain.pt", "pr715-tiny")
    wrapped = write_published(tmp_path / "wrapped.pt", "pr715-tiny", change=wrap)
    assert import_into(tmp_path, plain, "pr715-tiny") == 0
    assert "named without" not in capsys.readouterr().out
    assert import_into(tmp_path, wrapped, "pr715-tiny") == 0
    assert f"published tensors, named without {prefix}" in capsys.readouterr().out
    states = [load_checkpoint(path).state for path in (tmp_path / "store").glob("import-*/checkpoint.safetensors")]
    assert len(states) == 2
    assert all(torch.equal(states[0][tensor], states[1][tensor]) for tensor in states[0])


def parsed(words):
    return parser(words).parse_args(words)


def test_after_an_import_the_run_that_is_named_uses_the_same_store_and_cache():
    where = ["--store", "s3://bucket/x", "--cache", "a folder", "--cache-limit", "20GB"]
    imported = parsed(["import", "final_model.pt", "--recipe", "pr715", *where])
    named = parsed(run_with(imported, "pr715", 7))
    assert (named.recipe, named.seeds, named.checkpoints) == ("pr715", [7], ["final_model.pt"])
    for option in ("store", "cache", "cache_limit"):
        assert getattr(named, option) == getattr(imported, option)


def test_an_imported_network_goes_through_every_stage_after_training(tmp_path):
    recipe = recipe_named("pr792-tiny")
    path = write_published(tmp_path / "final_model.pt", "pr792-tiny")
    nodes = pipeline(recipe, Sources(checkpoints={SEED: path}, checkpoint_steps={SEED: 3}))
    store, memo = Store(tmp_path / "store"), Memo(tmp_path / "memo")
    artifacts = build_all(nodes, store, memo, RunOptions(device="cpu"))
    assert [node.stage.name for node in nodes if node.seed == SEED] == [
        "import", "calibrate", "compress", "score", "mix", "audit"
    ]  # fmt: skip
    calibrated = artifacts[f"calibrate[{SEED}]"].record.facts
    assert calibrated["stream_position"] == 3 * recipe.train.stream_tokens_per_step
    outcome = outcome_of(recipe, nodes, artifacts, tmp_path / "results", built=dict.fromkeys(artifacts, 1.0))
    outcome.file(tmp_path / "results")
    for row in outcome.scores.to_pylist():
        # How long it was trained nobody has measured.
        assert row["train_clock_s"] is None
        assert row["within_train_clock"] is None
        assert row["checkpoint_sha256"] == artifacts[f"import[{SEED}]"].outputs["checkpoint"]


@pytest.mark.parametrize(
    ("given", "overrides", "recipe", "says"),
    [
        ("pr792-tiny", [], "pr715-tiny", ["blocks.0.attn.vr_lambda", "missing"]),
        ("pr745-tiny", [], "pr792-tiny", ["blocks.0.attn.vr_lambda"]),
        ("pr715-tiny", ["model.width=32"], "pr715-tiny", ["tok_emb.weight", "512, 32", "512, 64"]),
    ],
)
def test_weights_of_another_network_are_refused_with_both_shapes(given, overrides, recipe, says, tmp_path, capsys):
    path = write_published(tmp_path / "final_model.pt", given, *overrides)
    assert import_into(tmp_path, path, recipe) == 2
    told = capsys.readouterr()
    assert "DataError" in told.err
    assert all(text in told.err for text in says), told.err
    assert not list((tmp_path / "store").glob("import-*"))


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        (["model.recurrence=(2, 3)"], []),
        (["model.parallel_from=2"], []),
        (["model.rope_frequency_dtype=float32", "model.mlp_slope=0.9"], []),
        # Three skips either way: the un-looped network for one that runs a layer twice.
        (["model.recurrence=()"], ["model.recurrence=(1,)", "model.recurrence_passes=2"]),
    ],
)
def test_a_checkpoint_of_ours_is_refused_for_another_network_of_the_same_shapes(given, recipe, tmp_path, capsys):
    """What the shapes do not say, the file does; nothing is said by the files of the scripts."""
    given = [*given, "train.recurrence_from=null"]
    path = write_ours(tmp_path / "checkpoint.safetensors", "pr1493-tiny", *given)
    sets = [text for override in recipe for text in ("--set", override)]
    assert import_into(tmp_path, path, "pr1493-tiny", *sets) == 2
    told = capsys.readouterr().err
    assert "is of another network: " in told
    assert not list((tmp_path / "store").glob("import-*"))
    # What it says to add makes it fit, and how weights begin plays no part.
    asked = shlex.split(told.partition("or add ")[2])[: 2 * told.count("--set")]
    assert all(override.split("=")[0] in " ".join(asked) for override in given[:-1])
    fits = [*sets, *asked, "--set", "train.recurrence_from=null", "--set", "model.q_gain_init=9.0"]
    assert import_into(tmp_path, path, "pr1493-tiny", *fits) == 0


def test_what_the_network_of_a_checkpoint_does_not_read_is_neither_a_difference_nor_to_be_set(tmp_path):
    bare, other = ModelConfig(bigram_buckets=0), ModelConfig(bigram_buckets=64, bigram_dim=8, recurrence_passes=3)
    told = {CONFIG_KEY: bare.model_dump_json()}
    refuse_other_network(ModelConfig(bigram_buckets=0, bigram_dim=8, recurrence_passes=3), told, tmp_path)
    with pytest.raises(DataError) as refused:
        refuse_other_network(other, told, tmp_path)
    assert str(refused.value).endswith("or add --set 'model.bigram_buckets=0'")


def test_weights_with_a_nan_are_refused_by_name_and_count(tmp_path, capsys):
    def spoil(state):
        state["blocks.3.mlp.fc.weight"][5, 7] = float("nan")

    path = write_published(tmp_path / "final_model.pt", "pr715-tiny", change=spoil)
    assert import_into(tmp_path, path, "pr715-tiny") == 2
    told = capsys.readouterr().err
    assert "blocks.3.mlp.fc.weight" in told
    assert "1 of 12,288 values NaN or infinite" in told
    assert "training diverged or the file is damaged" in told
    assert "recipe" not in told


def test_a_truncated_file_is_refused(tmp_path, capsys):
    path = write_published(tmp_path / "final_model.pt", "pr715-tiny")
    for size in (0, 10, 5_000, path.stat().st_size - 1):
        broken = tmp_path / f"{size}.pt"
        broken.write_bytes(path.read_bytes()[:size])
        assert import_into(tmp_path, broken, "pr715-tiny") == 2
        told = capsys.readouterr().err
        assert "DataError" in told
        assert "Traceback" not in told


class _Touch:
    """What a hostile file would run when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_code_in_a_file_is_never_run(tmp_path, capsys):
    path, touched = tmp_path / "hostile.pt", tmp_path / "touched"
    torch.save({"tok_emb.weight": _Touch(str(touched))}, path)
    assert import_into(tmp_path, path, "pr715-tiny") == 2
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(_Touch(str(touched))))
    assert import_into(tmp_path, plain, "pr715-tiny") == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not touched.exists()


def test_a_file_that_does_not_fit_ends_a_run_before_any_other_stage(tmp_path):
    path = write_published(tmp_path / "final_model.pt", "pr792-tiny")
    nodes = pipeline(recipe_named("pr715-tiny"), Sources(checkpoints={SEED: path}))
    with pytest.raises(DataError, match="vr_lambda"):
        build_all(nodes, Store(tmp_path / "store"), Memo(tmp_path / "memo"), RunOptions(device="cpu"))
    assert not list((tmp_path / "store").glob("tokenize-*"))


def test_steps_are_given_per_seed_and_only_with_a_checkpoint(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {seed: tmp_path / f"{seed}.pt" for seed in (1337, 42)}
    for path in files.values():
        path.write_bytes(b"x")
    steps = {1337: 5243, 42: 5244}
    nodes = {
        node.name: node for node in pipeline(recipe_named("pr792"), Sources(checkpoints=files, checkpoint_steps=steps))
    }
    assert nodes["import[1337]"].config.stream_position == 5243 * 786_440
    assert nodes["import[42]"].config.stream_position == 5244 * 786_440
    assert main(["plan", "pr792-tiny", "--checkpoint-steps", "5"]) == 2
    assert "none is given; pass --checkpoint FILE" in capsys.readouterr().err
    assert import_into(tmp_path, files[42], "pr792-tiny", "--checkpoint-steps", "-3") == 2
    assert "steps are a whole number from 0 on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pr715", "--checkpoint", "FILE"], "pr715 has 3 seeds; write SEED="),
        (["pr715", "--seeds", "1337", "--checkpoint", "42=FILE"], "given for seed 42, but the seeds are 1337"),
        (["pr715-tiny", "--checkpoint", "nowhere.pt"], "no such file or folder"),
        (["pr715-tiny", "--checkpoint", "FILE", "--checkpoint", "1337=FILE"], "seed 1337 has two values"),
    ],
)
def test_a_checkpoint_that_belongs_to_no_seed_is_a_mistake(arguments, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "final_model.pt"
    path.write_bytes(b"not looked at")
    assert main(["plan", *[text.replace("FILE", str(path)) for text in arguments]]) == 2
    assert says in capsys.readouterr().err


def test_one_file_per_seed(tmp_path):
    files = {seed: tmp_path / f"{seed}.pt" for seed in (1337, 42)}
    for path in files.values():
        path.write_bytes(b"x")
    nodes = {node.name: node for node in pipeline(recipe_named("pr715"), Sources(checkpoints=files))}
    assert {"import[1337]", "import[42]", "train[7]"} <= nodes.keys()
    assert nodes["compress[42]"].parents == ("import[42]",)
    with pytest.raises(ConfigError, match="seed 5"):
        pipeline(recipe_named("pr715"), Sources(checkpoints={5: files[42]}))
