"""Settings that nothing reads: setting them makes nothing run again, and is said."""

import json
import typing
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import pytest

from pgolf.bundle.bundle import settings_of
from pgolf.config import StageConfig
from pgolf.corpus import tokenize_stage
from pgolf.corpus.config import TokenizeConfig
from pgolf.errors import ConfigError
from pgolf.mix.cells import cells_of
from pgolf.mix.product import FIELD
from pgolf.model.checkpoint import load_checkpoint
from pgolf.pack.load import load_packed
from pgolf.pipeline.build import build_all
from pgolf.pipeline.declared import headline_text
from pgolf.pipeline.graph import Sources, data_node, import_node, pipeline
from pgolf.pipeline.listen import Silence
from pgolf.pipeline.own_trial import own_trial
from pgolf.quant.config import CalibrateConfig
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.changed import changed_settings, default_name, without_idle
from pgolf.recipes.idle import idle_notes
from pgolf.recipes.overrides import apply_overrides, value_at, with_values
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
ADAPTED = (
    'score.ttt={"kind": "lora", "rank": 2, "chunk_targets": 64, "matrices": ["q"]}',
    "compress.method=gptq_hessian",
    "estimators=exact",
    "mix.mixers=dirichlet",
    "count.orders=2,3",
)
CLIPPED = ("compress.policy=sdclip", "compress.method=gptq", "compress.matrix_bits=5", "compress.downgrade_bits=4")
OTHERS = (
    ("compress.method=percentile",),
    ("compress.method=gptq",),
    ("tokenize.val_split=first",),
    ("tokenize.tokenizer=given",),
    (
        "tokenize.source=builtin",
        "audit={}",
        'score.ttt={"kind": "full", "order": "adapt_first", "chunk_tokens": 512, "sequence_length": 64}',
    ),
    ("train.batches=rows", "train.data_ranks=1", "estimators=exact", "headline.mixer=adaptive"),
)
CASES = (BARE, ALLOCATED, ADAPTED, CLIPPED, *OTHERS)

# Of what has few values that are valid.
ANOTHER = {"count.buckets": 1024, "count.granularity": 2, "headline.alpha": 0.3}


def asked(*overrides: str) -> Recipe:
    return tiny_recipe("seeds=1", "estimators=()", "mix.mixers=()", UNTRIED, *overrides)


def other_value(config: StageConfig, name: str) -> Any:
    """A value of a setting that is not the one it has, and that is valid."""
    field, value = type(config).model_fields[name], getattr(config, name)
    if isinstance(value, bool):
        return not value
    for kind in (field.annotation, *typing.get_args(field.annotation)):
        words = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        if others := [word for word in words if word != value]:
            return others[0]
    if isinstance(value, tuple):
        return value[1:] if len(value) > 1 else (other_number(value[0]),)
    if isinstance(value, str):
        return f"{value}s"
    return 5 if value is None else other_number(value)


def other_number(value: float) -> float:
    if isinstance(value, int):
        return value - 1 if value > 7 else value + 1
    return value / 2 or 0.5


def idle_in(recipe: Recipe) -> list[str]:
    """All but one, which goes with few values of others and has a test of its own."""
    return [path for path in recipe.idle_settings() if path != "count.estimator"]


def otherwise(recipe: Recipe) -> Recipe:
    """The recipe with another value at every setting that nothing reads."""
    changes = {}
    for path in idle_in(recipe):
        section, _, name = path.rpartition(".")
        changes[path] = ANOTHER.get(path) or other_value(value_at(recipe, section), name)
    return with_values(recipe, changes.items())


@pytest.mark.parametrize("overrides", CASES, ids=" ".join)
def test_a_setting_that_nothing_reads_is_no_part_of_what_runs(overrides, tmp_path):
    recipe = asked(*overrides)
    changed = otherwise(recipe)
    assert all(value_at(changed, path) != value_at(recipe, path) for path in idle_in(recipe))
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
    cases = {path for case in CASES for path in asked(*case).idle_settings()}
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


@pytest.mark.parametrize(
    "overrides", [BARE, ALLOCATED, ADAPTED, CLIPPED], ids=["bare", "allocated", "adapted", "clipped"]
)
def test_what_is_said_to_be_read_by_nothing_changes_no_output(overrides, tmp_path, monkeypatch):
    """The oracle: with these settings as they were set, every stage makes the same of others."""
    monkeypatch.setattr(StageConfig, "as_read", lambda self, _rest=None: self)
    recipe = asked(*overrides)
    made = []
    for which in (recipe, otherwise(recipe)):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        nodes = pipeline(which, write_documents(folder))
        built = build_all(nodes, Store(folder / "store"), Memo(folder / "memo"), RunOptions(device="cpu"), Silence())
        made.append({name: content(artifact) for name, artifact in built.items()})
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "settings", [{"source": "builtin"}, {"val_split": "content_hash", "val_one_in": 2}, {"tokenizer": "given"}]
)
def test_tokenizing_makes_the_same_of_other_values_too(settings, tmp_path, monkeypatch):
    texts = [f"text {number} of a few words, said {number % 7} times over" for number in range(200)]
    monkeypatch.setattr(tokenize_stage, "builtin_documents", lambda: texts)
    (tmp_path / "docs.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))
    begun = TokenizeConfig(source="documents", vocab_size=300, val_documents=20).model_copy(update=settings)
    made = []
    for config in (begun, *(begun.model_copy(update={name: other_value(begun, name)}) for name in begun.idle())):
        inputs = {"documents": tmp_path / "docs.jsonl"} if config.source == "documents" else {}
        if config.tokenizer == "given":
            inputs["tokenizer"] = tmp_path / "0/tokenizers/documents.model"
        out = tmp_path / str(len(made) + 1)
        if not made and inputs.get("tokenizer"):
            (tmp_path / "0").mkdir()
            trained = config.model_copy(update={"tokenizer": "train"})
            tokenize_stage.make(trained, {"documents": inputs["documents"]}, tmp_path / "0", RunOptions())
        out.mkdir()
        tokenize_stage.make(config, inputs, out, RunOptions())
        made.append({str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.*"))})
    assert len(made) > 1
    assert all(other == made[0] for other in made)


@pytest.mark.parametrize("mixer", ["fixed", "backoff", "adaptive"])
def test_script_and_trial_mix_the_same_headline_of_other_lists(mixer, monkeypatch):
    """Whether the grid has its mixer or not: they read the lists that it takes a value of."""
    monkeypatch.setattr(StageConfig, "as_read", lambda self, _rest=None: self)
    recipe = asked("estimators=exact", "mix.mixers=dirichlet", f"headline.mixer={mixer}", "audit={}")
    changed = otherwise(recipe)
    assert len(recipe.idle_settings().keys() & {f"mix.{name}" for name in FIELD}) > 3
    trials = [own_trial(one) for one in (recipe, changed)]
    assert trials[0] is not None
    assert trials[1] is not None
    assert trials[0].mix == trials[1].mix
    cells = [
        cells_of(settings.mix, {"exact": settings.counts[0]})
        for settings in (settings_of(recipe), settings_of(changed))
    ]
    assert cells[0] == cells[1]


@pytest.fixture
def unbundled(monkeypatch):
    """Without the script, which takes seconds and decides nothing here."""
    monkeypatch.setattr("pgolf.pipeline.graph.bundle", lambda _recipe: b"script")


def test_counts_are_those_that_the_recipe_lists_whatever_the_section_of_counts_says(tmp_path, unbundled):
    sources = write_documents(tmp_path)
    recipe, other = (
        asked("estimators=hashed", "count.buckets=4194304", *more) for more in ([], ["count.estimator=exact"])
    )
    assert recipe != other
    assert pipeline(recipe, sources) == pipeline(other, sources)


def test_outputs_that_are_made_by_themselves_are_those_that_a_run_reads(tmp_path, unbundled):
    """`pgolf tokenize` and `pgolf import`, whose output the next run of the recipe reuses."""
    sources = replace(write_documents(tmp_path), checkpoints={1: tmp_path / "docs.jsonl"})
    recipe = otherwise(asked("model.bigram_buckets=0"))
    nodes = {node.name: node for node in pipeline(recipe, sources)}
    assert recipe.tokenize is not None
    assert data_node(recipe.tokenize, sources) == nodes["data"]
    assert import_node(recipe, 1, sources) == nodes["import[1]"]


def test_what_a_person_sets_for_nothing_is_said_and_what_a_recipe_brings_is_not():
    assert notes() == []
    assert notes("model.bigram_buckets=0") == []
    assert notes("model.bigram_buckets=0", "model.bigram_dim=64", "train.crownq_bits=6") == [
        "model.bigram_dim=64 changes nothing: with model.bigram_buckets=0 nothing reads it",
        "train.crownq_bits=6 changes nothing: with train.crownq_weight=0.0 nothing reads it",
    ]
    assert notes("model.bigram_dim=64") == []
    assert notes('score.ttt={"kind": "full"}') == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        # To the default, where the recipe has something else.
        (["train.warmdown_share=0.5", "train.warmdown_steps=3000"], "train.warmdown_share=0.5"),
        (["model.recurrence_passes=3"], "model.recurrence=[]"),
        (
            ["score.batch_means.windows=4", "score.batch_windows=4"],
            'score.batch_means={"chunk_tokens":32768,"ranks":8,',
        ),
        (
            ["compress.method=gptq", "compress.policy=allocate", "compress.clips=0.5"],
            "compress.policy=allocate nothing",
        ),
        (["compress.method=rtn", "calibrate.batches=9"], "compress.policy=published and compress.method=rtn"),
        (["estimators=()", "headline.order=4"], "estimators=[]"),
        (["headline.mixer=adaptive", "headline.alpha=0.3"], "headline.mixer=adaptive"),
        (["estimators=exact", "count.buckets=1024"], "estimators=exact"),
        (["estimators=hashed", "count.buckets=4194304", "count.estimator=exact"], "estimators=hashed"),
    ],
)
def test_it_is_said_as_it_is_typed(overrides, said):
    [note] = notes(*overrides)
    assert note.startswith(f"{overrides[-1]} changes nothing: with {said}")
    cause = note.partition("with ")[2].removesuffix(" nothing reads it").partition(" and ")[0]
    assert notes(*overrides, cause) == [note]


def notes(*overrides: str) -> list[str]:
    return list(idle_notes(apply_overrides(recipe_named("demo"), overrides)))


def test_a_run_is_filed_and_called_the_same_whatever_was_set_for_nothing():
    recipe = apply_overrides(recipe_named("demo"), ["model.bigram_buckets=0"])
    for overrides in (
        ["model.bigram_dim=64"],
        ["train.crownq_bits=6", "compress.clips=[0.5]"],
        ["model.bigram_dim=128"],
    ):
        changed = apply_overrides(recipe, overrides)
        assert changed_settings(changed) == {"model.bigram_buckets": 0}
        assert default_name(changed) == "demo bigram_buckets=0"
        assert without_idle(changed) == without_idle(recipe) == recipe


def test_a_headline_without_counts_is_part_of_no_declaration():
    declared = [headline_text(asked(f"headline.order={order}", "headline.mixer=fixed")) for order in (2, 3)]
    assert declared[0] == declared[1]
    assert headline_text(asked("estimators=exact", "headline.order=2")) not in declared


def test_shuffled_rows_of_a_calibration_that_is_not_made_may_be_shared_otherwise():
    apart = ("train.batches=rows", "train.data_ranks=1", "calibrate.source=rows", "calibrate.spans=2")
    assert asked(*apart, "compress.method=rtn").as_read().calibrate == CalibrateConfig()
    with pytest.raises(ConfigError, match=r"calibrate\.spans=1"):
        asked(*apart, "compress.method=gptq")
