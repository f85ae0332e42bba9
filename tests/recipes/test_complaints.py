"""What is wrong with a setting is said in the words of recipes, and never in those of the library that looks."""

from typing import get_args

import pytest
from pydantic import BaseModel

from pgolf.errors import ConfigError
from pgolf.recipes.catalog import RECIPES, recipe_named
from pgolf.recipes.overrides import apply_overrides, with_values
from pgolf.recipes.recipe import Recipe

SECTIONS = {
    name: field
    for name, field in Recipe.model_fields.items()
    for part in (field.annotation, *get_args(field.annotation))
    if isinstance(part, type) and issubclass(part, BaseModel)
}


def complaint(*overrides, recipe="demo"):
    with pytest.raises(ConfigError) as told:
        apply_overrides(recipe_named(recipe), overrides)
    return str(told.value)


@pytest.mark.parametrize("value", ["null", "5", "fixed", "[]", "false"])
@pytest.mark.parametrize("name", SECTIONS)
def test_of_a_section_it_is_said_what_it_is_and_how_to_set_it(name, value):
    field = SECTIONS[name]
    if value == "null" and type(None) in get_args(field.annotation):
        return  # a recipe may do without it
    said = complaint(f"{name}={value}")
    what, example = said.split("; set what is in it, e.g. ")
    assert what.startswith(f"{name}: this is a section ({field.description[0].lower()}{field.description[1:]})")
    assert ("which a recipe always has" in what) == (value == "null")
    setting = example.rpartition(" (got ")[0]
    others = [f"{other}.window=2048" for other in ("score", "count", "hint")]  # which have to be alike
    apply_overrides(recipe_named("pr715" if name == "fetch" else "demo"), [*others, setting])  # it can be typed


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.recurrence=(1, 3)", "model.recurrence (1, 3) has gaps"),
        ("model.parallel_from=6", "model.parallel_from 6 must lie within"),
        ("train.data_ranks=3", "train.data_ranks 3 cannot bring"),
        ("score.ttt.chunk_tokens=100", "score.ttt.chunk_tokens 100 is not a multiple"),
        ("compress.policy=allocate", "compress.sdclip_k is given, and policy allocate"),
        ("train.steps=9999999999999999999999", "train.steps has 74 bits"),
        # No step of a trained network's rows would do, which would otherwise show after training.
        ("compress.sdclip_k.mlp=1e300", "compress.sdclip_k.mlp: Input should be less than or equal to 1000"),
    ],
)
def test_what_several_fields_come_to_is_said_of_the_field_as_it_is_typed(override, says):
    assert complaint(override, recipe="pr1493-tiny").startswith(says)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("headline=null", "headline: this is a section (the mixture shown in the report, declared before anything is"),
        ('headline={"ordr": 9}', "headline.ordr: there is no such setting; did you mean order? (got 9)"),
        ('hint={"zzz": 9}', "hint.zzz: there is no such setting; known here: "),
        ('model={"zzz": 1}', "kv_heads and 30 more (got 1)"),
        ("mix.bayes=null", 'is a list of sections, e.g. [{"share_rate": 0.0}]; an empty one is [] (got None)'),
        ('mix.bayes={"shares": 1}', "mix.bayes.0.shares: there is no such setting; did you mean share_rate? (got 1)"),
        ("score.ttt=4", "score.ttt: this is a section (adapt to the text while scoring it; null: "),
        ('score.ttt={"kind": "foo"}', "score.ttt: there is no kind 'foo'; the kinds are 'full', 'lora' (got "),
        ('score.ttt={"kind": "lora", "rank": "8"}', "score.ttt.rank: "),
    ],
)
def test_a_mistake_is_told_in_the_words_of_recipes(override, says):
    said = complaint(override)
    assert says in said
    for word in ("tag", "discriminator", "Extra inputs", "dictionary", "instance of", "Config"):
        assert word not in said


@pytest.mark.parametrize("name", RECIPES)
def test_no_field_of_a_recipe_is_lost_where_one_is_wrong(name):
    """Each field of each section, given what no field takes, is named as it is typed."""
    recipe = recipe_named(name)
    for section in SECTIONS:
        settings = getattr(recipe, section)
        for field in type(settings).model_fields if settings is not None else ():
            with pytest.raises(ConfigError, match=rf"^{section}\.{field}[.:]"):
                with_values(recipe, [(f"{section}.{field}", {"zzz": object()})])


def test_null_for_a_list_is_answered_with_how_none_is_written():
    assert complaint("model.recurrence=null") == (
        "model.recurrence: this is a list, e.g. [1, 2]; an empty one is [] (got None)"
    )
    assert complaint("compress.zstd_levels=null") == "compress.zstd_levels: this is a list, e.g. [1, 2] (got None)"
    assert apply_overrides(recipe_named("demo"), ["model.recurrence=[]", "model.xsa_layers=null"])
