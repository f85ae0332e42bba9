"""What Prefect makes of the declarations: the parameters of both flows from a recipe's sections, a task per stage."""

import inspect

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import get_call_parameters, parameters_to_args_kwargs

from flows.parameters import SECTIONS
from flows.record import record
from flows.sweep import sweep
from pgolf.recipes.recipe import STAGES, Recipe
from tasks.stage_tasks import TASKS

FLOWS = (record, sweep)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_has_a_parameter_for_every_section_of_a_recipe(flow):
    parameters = inspect.signature(flow.fn).parameters
    assert list(parameters) == ["recipe", *SECTIONS, "max_points", "place"]
    assert {name: parameters[name].annotation for name in SECTIONS} == {
        name: Recipe.model_fields[name].annotation | None for name in SECTIONS
    }
    assert Recipe.model_fields.keys() - set(SECTIONS) == {"name", "description"}


@pytest.mark.parametrize("flow", FLOWS)
def test_the_form_describes_every_parameter_and_asks_for_none(flow):
    schema = flow.parameters
    assert schema.required == []
    assert [name for name, shown in schema.properties.items() if not shown.get("description")] == []
    assert schema.properties["mix"]["description"] == "The grid of mixtures; empty: the recipe's"


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("wrong", [{"mix": {"alphaz": [0.1]}}, {"place": {"processes": -1}}, {"seeds": [-1]}])
def test_a_wrong_field_is_refused_by_the_flow(flow, wrong):
    with pytest.raises(ParameterTypeError):
        flow.validate_parameters(get_call_parameters(flow.fn, (), wrong))


@pytest.mark.parametrize("flow", FLOWS)
def test_prefect_calls_a_flow_with_what_was_given_by_place_or_by_name(flow):
    parameters = get_call_parameters(flow.fn, ("demo", (5,)), {"max_points": 1})
    args, kwargs = parameters_to_args_kwargs(flow.fn, parameters)
    assert args == ()
    assert (kwargs["recipe"], kwargs["seeds"], kwargs["max_points"]) == ("demo", (5,), 1)
    with pytest.raises(TypeError, match="sedes"):
        flow.fn(sedes=(5,))


def test_every_stage_has_a_task_of_its_name_that_prefect_tells_from_the_others():
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in STAGES}
    assert len({task.task_key for task in TASKS.values()}) == len(STAGES)
