"""What Prefect makes of the declarations: the parameters of both flows from a recipe's sections, a task per stage."""

import inspect
from dataclasses import fields

import pytest
from prefect.exceptions import ParameterTypeError, SignatureMismatchError
from prefect.utilities.callables import get_call_parameters, parameter_schema, parameters_to_args_kwargs
from prefect.utilities.schema_tools.validation import validate

from flows.parameters import SECTIONS, asked_for
from flows.record import record
from flows.sweep import sweep
from flows.verdict import verdict
from pgolf.errors import ConfigError
from pgolf.pipeline.before_stages import ready_to_run
from pgolf.pipeline.place import Place
from pgolf.pipeline.program_trial import AskedProgram
from pgolf.recipes.catalog import RECIPES
from pgolf.recipes.recipe import STAGES, Headline, Recipe
from pgolf.tables.named_runs import Run, name_run
from pgolf.tables.parquet import append
from pgolf.tables.schema import SCORES
from tasks.stage_tasks import TASKS
from tests.score_rows import score_row

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
def test_a_parameter_that_there_is_not_passes_the_server_and_fails_its_run_by_name_before_any_work(flow, monkeypatch):
    """As docs/deploy.md says: a deployment's schema, by which the server judges, cannot forbid one."""
    schema = parameter_schema(flow).model_dump_for_openapi()  # of which a deployment is made
    for wrong, why in (({"recipe": "demoo"}, "'demoo' is not one of"), ({"mix": {"alphaz": [0.1]}}, "'alphaz' was")):
        assert why in " ".join(str(error.message) for error in leaves(validate(wrong, schema)))
    unknown = {"recipe": "demo", "sedes": [1]}
    assert validate(unknown, schema) == []
    monkeypatch.setattr("flows.parameters.find_recipe", lambda _name: pytest.fail("began to work"))
    assert flow.should_validate_parameters
    with pytest.raises(SignatureMismatchError, match=r"was provided with parameters \['recipe', 'sedes'\]"):
        flow.validate_parameters(unknown)
    with pytest.raises(TypeError, match="sedes"):
        flow.fn(**unknown)


def leaves(errors):
    """Of alternatives that none fits what each says."""
    for error in errors:
        yield error
        yield from leaves(error.context or ())


def test_a_name_that_another_run_has_is_refused_of_a_flow_run_too(tmp_path):
    run = Run(key="demo-111111111111", recipe="demo", recipe_key=None, name="mine")
    append(tmp_path / "results", SCORES, run.key, [score_row()])
    name_run(tmp_path / "results", run)
    place = Place(store=tmp_path / "store", results=tmp_path / "results")
    recipe, place = asked_for({"run_name": "mine", "seeds": [1], "place": place})
    with pytest.raises(ConfigError, match="mine is what demo-111111111111 is called; take another name"):
        ready_to_run(recipe, place, place.open_store(), place.memo(), evaluation_only=False)
    free, place = asked_for({"run_name": "yours", "seeds": [1], "place": place})
    assert ready_to_run(free, place, place.open_store(), place.memo(), evaluation_only=False).steps


def test_a_trial_describes_every_parameter():
    assert [name for name, shown in verdict.parameters.properties.items() if not shown.get("description")] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"run": ""}, "run"),
        ({"targets": -1}, "targets"),
        ({"seed": -1}, "seed"),
        ({"thorough": "perhaps"}, "thorough"),
        ({"reported_bpb": "none"}, "reported_bpb"),
        ({"place": {"processes": -1}}, "processes"),
    ],
)
def test_a_wrong_parameter_of_a_trial_is_refused_by_the_flow(wrong, said):
    with pytest.raises(ParameterTypeError, match=said):
        verdict.validate_parameters(get_call_parameters(verdict.fn, (), {"run": "demo", **wrong}))


def test_what_does_not_fit_together_ends_a_trial_before_any_work(tmp_path):
    for wrong, said in (
        ({"scorer": "network", "every_scorer": True}, "leave one of the two out"),
        ({"ruleset": "c1c4"}, "did you mean c1-c4"),
        ({"program": "./eval"}, "give one of them"),
        ({"run": None}, "give one of them"),
        ({"whole_text": True, "answer_s": 1.0}, "whole_text, answer_s means nothing for a run"),
        ({"run": None, "program": "./eval", "scorer": "network"}, "scorer means nothing for a program"),
        ({"run": None, "program": "./eval"}, "--tokens"),
        ({"run": None, "program": "./eval", "tokens": tmp_path, "start_s": 0.0}, "--start-s takes a number above 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            verdict.fn(**{"run": "demo", "place": Place(results=tmp_path), **wrong})


def test_the_flow_and_the_command_ask_of_a_program_the_same():
    """Every option of --exec is a parameter of the flow, under its name there."""
    own = {one.name for one in fields(AskedProgram)} - {"train_shards", "effort"}
    assert own <= set(verdict.parameters.properties)


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
