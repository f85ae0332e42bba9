"""Settings that nothing reads: setting them makes nothing run again, and is said."""

import typing
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from pgolf.config import StageConfig
from pgolf.model.checkpoint import load_checkpoint
from pgolf.pack.load import load_packed
from pgolf.pipeline.build import build_all
from pgolf.pipeline.graph import Sources, pipeline
from pgolf.pipeline.listen import Silence
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.idle import idle_notes
from pgolf.recipes.overrides import apply_overrides, validated, value_at
from pgolf.recipes.recipe import Recipe
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Store
from pgolf.store.content import Memo
from tests.tiny import UNTRIED, tiny_recipe, write_documents

# Between them they have every setting idle that can be.
BARE = (
    "model.bigram_buckets=0",
    "model.gated_attention=false",
    "train.muon_momentum_warmup_steps=0",
    "train.embedding_weight_decay=0.1",
    "train.scalar_weight_decay=0.02",
    "train.warmdown_share=0.5",
    'score.ttt={"kind": "full", "chunk_tokens": 512, "sequence_length": 64, "lr": 0.01}',
    "score.batch_means.chunk_tokens=512",
    "compress.method=rtn",
    "compress.codec=rans",
)
ALLOCATED = (
    "train.average=swa",
    "train.swa_every_steps=1",
    "train.swa_below_scale=1.0",
    "compress.policy=allocate",
    "compress.method=gptq_hessian",
    'score.ttt={"kind": "full", "optimizer": "adamw", "chunk_tokens": 512, "sequence_length": 64, "lr": 0.001}',
)
CLIPPED = ("compress.policy=sdclip", "compress.method=gptq", "compress.matrix_bits=5", "compress.downgrade_bits=4")
OTHERS = (
    ("compress.method=percentile",),
    ("compress.method=gptq",),
    ("tokenize.val_split=first",),
    ("tokenize.tokenizer=given",),
    ("tokenize.source=builtin",),
    ("train.batches=rows", "train.data_ranks=1"),
)


def asked(*overrides: str) -> Recipe:
    return tiny_recipe("seeds=1", "estimators=()", "mix.mixers=()", UNTRIED, *overrides)


def other_value(config: StageConfig, name: str) -> Any:
    """A value of a setting that is not the one it has, and that is valid."""
    field, value = type(config).model_fields[name], getattr(config, name)
    if isinstance(value, bool):
        return not value
    for kind in (field.annotation, *typing.get_args(field.annotation)):
        if typing.get_origin(kind) is Literal:
            return next(one for one in typing.get_args(kind) if one != value)
    if isinstance(value, tuple):
        return value[1:] if len(value) > 1 else (value[0] - 1,)
    if isinstance(value, str):
        return f"{value}s"
    if value is None:
        return 5
    return value + 1 if isinstance(value, int) and value < 8 else value - 1 if isinstance(value, int) else value / 2


def otherwise(recipe: Recipe) -> Recipe:
    """The recipe with another value at every setting that nothing reads."""
    data = recipe.model_dump()
    for path in recipe.idle_settings():
        *sections, name = path.split(".")
        within: dict[str, Any] = data
        for section in sections:
            within = within[section]
        within[name] = other_value(value_at(recipe, ".".join(sections)) if sections else recipe, name)
    return validated(Recipe, data)


@pytest.mark.parametrize("overrides", [BARE, ALLOCATED, CLIPPED, *OTHERS], ids=" ".join)
def test_a_setting_that_nothing_reads_is_no_part_of_what_runs(overrides, tmp_path):
    recipe = asked(*overrides)
    changed = otherwise(recipe)
    assert all(value_at(changed, path) != value_at(recipe, path) for path in recipe.idle_settings())
    sources = write_documents(tmp_path)
    (tmp_path / "given.model").touch()
    place = {"documents": None if recipe.tokenize.source == "builtin" else sources.documents}
    place["tokenizer"] = tmp_path / "given.model" if recipe.tokenize.tokenizer == "given" else None
    assert pipeline(changed, Sources(**place)) == pipeline(recipe, Sources(**place))


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_read_of_a_recipe_is_a_recipe_and_says_the_same_again(name):
    for recipe in (recipe_named(name), otherwise(recipe_named(name))):
        read = recipe.as_read()
        assert Recipe.model_validate(read.model_dump()) == read == read.as_read()


def test_what_is_idle_in_a_system_is_so_in_some_case_here():
    cases = {path for case in (BARE, ALLOCATED, CLIPPED, *OTHERS) for path in asked(*case).idle_settings()}
    assert {path for name in RECIPES for path in recipe_named(name).idle_settings()} <= cases


def content(artifact: Artifact) -> Mapping[str, Any]:
    """What an output holds beside the settings that it notes: networks say which network they are."""
    if (artifact.path / "checkpoint.safetensors").exists():
        network = load_checkpoint(artifact.path / "checkpoint.safetensors")
    elif (artifact.path / "model.pgolf").exists():
        network = load_packed(artifact.path / "model.pgolf")
    else:
        return artifact.record.outputs
    return {name: tensor.tolist() for name, tensor in network.state.items()}


@pytest.mark.parametrize("overrides", [BARE, ALLOCATED, CLIPPED], ids=["bare", "allocated", "clipped"])
def test_what_is_said_to_be_read_by_nothing_changes_no_output(overrides, tmp_path, monkeypatch):
    """The oracle: with these settings as they were set, every stage makes the same of others."""
    monkeypatch.setattr(StageConfig, "as_read", lambda self: self)
    recipe = asked(*overrides)
    made = []
    for which in (recipe, otherwise(recipe)):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        nodes = pipeline(which, write_documents(folder))
        built = build_all(nodes, Store(folder / "store"), Memo(folder / "memo"), RunOptions(device="cpu"), Silence())
        made.append({name: content(artifact) for name, artifact in built.items()})
    assert made[0] == made[1]


def test_what_a_person_sets_for_nothing_is_said_and_what_a_recipe_brings_is_not():
    recipe = recipe_named("demo")
    assert list(idle_notes(recipe)) == []
    assert list(idle_notes(apply_overrides(recipe, ["model.bigram_buckets=0"]))) == []
    off = apply_overrides(recipe, ["model.bigram_buckets=0", "model.bigram_dim=64", "train.crownq_bits=6"])
    assert list(idle_notes(off)) == [
        "model.bigram_dim=64 changes nothing: with model.bigram_buckets=0 nothing reads it",
        "train.crownq_bits=6 changes nothing: with train.crownq_weight=0.0 nothing reads it",
    ]
    assert list(idle_notes(apply_overrides(recipe, ["model.bigram_dim=64"]))) == []
    assert list(idle_notes(apply_overrides(recipe, ['score.ttt={"kind": "full"}']))) == []
