"""What Prefect makes of the declarations: the parameters of both flows from a recipe's sections, a task per stage."""

import inspect

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import get_call_parameters, parameters_to_args_kwargs

from flows.parameters import SECTIONS, asked_for
from flows.record import record
from flows.sweep import sweep
from pgolf.recipes.catalog import RECIPES
from pgolf.recipes.recipe import STAGES, Headline, Recipe
from tasks.stage_tasks import TASKS

FLOWS = (record, sweep)


BEFORE_EVALUATION = ["fetch", "tokenize", "model", "train", "calibrate", "compress"]


@pytest.mark.parametrize(("flow", "without"), [(record, []), (sweep, BEFORE_EVALUATION)])
def test_a_flow_has_a_parameter_for_every_section_of_a_recipe_and_a_sweep_none_that_it_refuses_to_change(flow, without):
    parameters = inspect.signature(flow.fn).parameters
    sections = [name for name in SECTIONS if name not in without]
    assert list(parameters) == ["recipe", "recipe_file", *sections, "max_points", "place"]
    assert {name: parameters[name].annotation for name in sections} == {
        name: Recipe.model_fields[name].annotation | None for name in sections
    }
    assert Recipe.model_fields.keys() - set(SECTIONS) == {"name", "description", "base"}


@pytest.mark.parametrize("flow", FLOWS)
def test_the_form_describes_every_parameter_and_asks_for_none(flow):
    schema = flow.parameters
    assert schema.required == []
    assert [name for name, shown in schema.properties.items() if not shown.get("description")] == []
    assert schema.properties["mix"]["description"] == "The grid of mixtures; empty: the recipe's"


@pytest.mark.parametrize("flow", FLOWS)
def test_the_recipe_is_chosen_from_those_there_are_and_may_be_a_file(flow, tmp_path):
    assert flow.parameters.properties["recipe"]["enum"] == sorted(RECIPES)
    file = tmp_path / "mine.toml"
    file.write_text('base = "demo"\nseeds = [5]\n[mix]\nalphas = [0.3]\n')
    recipe, _ = asked_for({"recipe_file": str(file), "headline": Headline(order=3, alpha=0.3)})
    assert (recipe.name, recipe.seeds, recipe.mix.alphas, recipe.headline.order) == ("mine", (5,), (0.3,), 3)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("wrong", [{"mix": {"alphaz": [0.1]}}, {"place": {"processes": -1}}, {"seeds": [-1]}])
def test_a_wrong_field_is_refused_by_the_flow(flow, wrong):
    with pytest.raises(ParameterTypeError):
        flow.validate_parameters(get_call_parameters(flow.fn, (), wrong))


@pytest.mark.parametrize("flow", FLOWS)
def test_prefect_calls_a_flow_with_what_was_given_by_place_or_by_name(flow):
    parameters = get_call_parameters(flow.fn, ("demo", None), {"seeds": (5,), "max_points": 1})
    args, kwargs = parameters_to_args_kwargs(flow.fn, parameters)
    assert args == ()
    assert (kwargs["recipe"], kwargs["seeds"], kwargs["max_points"]) == ("demo", (5,), 1)
    with pytest.raises(TypeError, match="sedes"):
        flow.fn(sedes=(5,))


def test_every_stage_has_a_task_of_its_name_that_prefect_tells_from_the_others():
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in STAGES}
    assert len({task.task_key for task in TASKS.values()}) == len(STAGES)
