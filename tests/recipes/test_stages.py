"""What the declarations of the stages promise one another and the recipe."""

import pytest

from pgolf.config import StageConfig
from pgolf.identity.closure import import_closure, stage_code
from pgolf.pipeline.graph import Node, _tools
from pgolf.quant.config import CalibrateConfig
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.overrides import apply_overrides
from pgolf.recipes.recipe import CALIBRATE, IMPORT, SHARDS, STAGES, TRAIN, Recipe


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_stage_reads_named_outputs_of_stages_that_run_before_it(stage):
    in_order = sorted(STAGES.values(), key=lambda stage: stage.per_seed)  # what runs once is made first
    for reads in stage.reads.values():
        for other in reads.stages:
            assert in_order.index(other) < in_order.index(stage)
            assert set(reads.outputs) <= other.outputs.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_every_stage_has_a_config_in_a_recipe_or_is_left_out_of_it(name):
    recipe = RECIPES[name]()
    configs = {stage.name: recipe.config_of(stage) for stage in STAGES.values()}
    left_out = {stage for stage, config in configs.items() if config is None}
    assert "audit" not in left_out or not RECIPES[name]().score.causal
    assert left_out - {"audit"} <= {"fetch", "tokenize", "shards", "import", "calibrate", "count", "hint"}
    assert ("fetch" in left_out) != ("tokenize" in left_out)
    assert all(isinstance(config, StageConfig) for config in configs.values() if config is not None)


def test_fixed_clips_by_the_hessian_ask_calibration_for_the_head_alone():
    """Searching policies read the loss's curvature, which takes a backward pass per batch."""
    asked = {
        (): (False, False),
        ("compress.policy=sdclip",): (False, True),
        ("compress.policy=sdclip", "compress.sdclip_k={}"): (True, False),
        ("compress.policy=sdclip", "compress.sdclip_k={}", "calibrate.sensitivities=true"): (True, True),
        ("compress.policy=allocate",): (False, True),
    }
    for changes, expected in asked.items():
        method = "gptq_hessian" if changes else "gptq"
        config = apply_overrides(recipe_named("demo"), [f"compress.method={method}", *changes]).config_of(CALIBRATE)
        assert isinstance(config, CalibrateConfig)
        assert (config.table, config.sensitivities) == expected
    plain = ["compress.policy=sdclip", "compress.sdclip_k={}", "compress.method=rtn"]
    assert apply_overrides(recipe_named("demo"), plain).config_of(CALIBRATE) is None


def test_every_stage_but_those_that_take_in_files_has_the_section_of_its_name():
    assert STAGES.keys() - Recipe.model_fields.keys() == {SHARDS.name, IMPORT.name}


def test_another_pyarrow_trains_nothing_anew_and_another_torch_does():
    """It writes the losses alone, and they are no output that anything with a key reads."""
    node = Node(name="train[1]", stage=TRAIN, config=RECIPES["demo"]().config_of(TRAIN), seed=1)
    reached = stage_code(TRAIN.entry).distributions
    assert "pyarrow" in reached
    tools = _tools(node, reached)
    assert _tools(node, {**reached, "pyarrow": "1.2.3"}) == tools
    assert _tools(node, {**reached, "torch": "1.2.3"}) != tools
    assert "losses.parquet" not in {pattern for patterns in TRAIN.outputs.values() for pattern in patterns}
    behind = [stage.entry for stage in STAGES.values() if stage is not TRAIN]
    assert not any("pgolf.train.loss_table" in import_closure(entry) for entry in behind)
