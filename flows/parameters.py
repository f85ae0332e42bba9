"""The parameters of both flows, made from the sections of a recipe: one definition of signature, form and call.

Each section is a parameter of its own because Prefect merges a run's parameters over a deployment's at the top level
only: of one nested parameter a run that changes a field would drop all others, and train again.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from inspect import Parameter, Signature
from typing import Annotated, Any, TypeVar

from prefect.runtime import flow_run
from pydantic import BaseModel, WithJsonSchema

from pgolf.errors import PgolfError
from pgolf.pipeline.place import Place
from pgolf.recipes.catalog import RECIPES, with_sections
from pgolf.recipes.changed import default_name
from pgolf.recipes.grid_text import MOST_POINTS, refuse_large_grid
from pgolf.recipes.overrides import validated
from pgolf.recipes.recipe import STAGES, Recipe
from pgolf.recipes.recipe_file import find_recipe

Function = TypeVar("Function", bound=Callable[..., Any])
# What a program in this process asks for: of it the parameters tell Prefect, and cannot tell everything, such as that a
# recipe does without a section that the one of its name has.
ASKED: ContextVar[Recipe | None] = ContextVar("ASKED", default=None)
SECTIONS = tuple(name for name in Recipe.model_fields if name not in ("name", "description", "base"))
# What a sweep refuses to change: data and weights have to be there.
_BEFORE_EVALUATION = {name for name in SECTIONS if name in STAGES and not STAGES[name].evaluates} | {"model"}
_FORM = WithJsonSchema({"type": "string", "enum": sorted(RECIPES)})  # a choice, and the server refuses another


class _About(BaseModel):
    """The parameters that are no sections, checked once more: a program may call a flow's function itself."""

    recipe: str
    recipe_file: str | None
    max_points: int
    place: Place


def _parameters(*, evaluation_only: bool) -> Iterator[tuple[Parameter, str]]:
    """Each parameter, and what the form in Prefect's UI says of it."""

    def parameter(name: str, annotation: Any, default: object) -> Parameter:
        return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=default)

    yield parameter("recipe", Annotated[str, _FORM], "demo"), "A recipe of pgolf"
    in_file = "A recipe file (`pgolf new`) on the machine that runs it, instead of a recipe of pgolf"
    yield parameter("recipe_file", str | None, None), in_file
    for name in SECTIONS:
        if evaluation_only and name in _BEFORE_EVALUATION:
            continue
        section = Recipe.model_fields[name]
        annotation: Any = section.annotation
        yield parameter(name, annotation | None, None), f"{section.description}; empty: the recipe's"
    yield parameter("max_points", int, MOST_POINTS), "A grid of more points is refused"
    where = "Folders and devices of the machine that runs it; relative paths begin in its PGOLF_HOME"
    yield parameter("place", Place, Place()), where


_SIGNATURE = Signature([parameter for parameter, _ in _parameters(evaluation_only=False)])


def with_recipe_parameters(*, evaluation_only: bool) -> Callable[[Function], Function]:
    """`function(**given)` with the parameters that Prefect then reads from its signature and its docstring."""
    parameters = list(_parameters(evaluation_only=evaluation_only))

    def with_parameters(function: Function) -> Function:
        texts = "\n".join(f"    {parameter.name}: {text}" for parameter, text in parameters)
        function.__signature__ = Signature([parameter for parameter, _ in parameters])  # type: ignore[attr-defined]
        function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nArgs:\n{texts}\n"
        return function

    return with_parameters


def run_name() -> str:
    """What Prefect's pages call a flow run: recipe, name and seeds, `demo no-gate · seeds 1337, 42, 7`."""
    given = flow_run.parameters
    try:
        recipe, _place = asked_for(given)
    except PgolfError:  # the flow itself says so
        return str(given.get("recipe_file") or given.get("recipe"))
    called = recipe.run_name or default_name(recipe)
    if not f"{called} ".startswith(f"{recipe.name} "):
        called = f"{recipe.name} {called}"
    return f"{called} · seed{'s' if len(recipe.seeds) > 1 else ''} {', '.join(map(str, recipe.seeds))}"


def flow_parameters(flow: Any, recipe: Recipe, place: Place, max_points: int) -> dict[str, Any]:
    """What Prefect is told of a recipe that a program here runs, as far as the flow has parameters for it."""
    about = {"recipe": recipe.name, "place": place, "max_points": max_points}
    sections = {name: getattr(recipe, name) for name in SECTIONS}
    return {name: value for name, value in (about | sections).items() if name in inspect.signature(flow.fn).parameters}


def asked_for(given: Mapping[str, Any]) -> tuple[Recipe, Place]:
    """The named recipe with the sections that are given in place of its own, and where to run it; or `ASKED`.

    Raises ConfigError for sections that do not fit together, and for a grid of more than max_points points.
    """
    bound = _SIGNATURE.bind(**given)
    bound.apply_defaults()
    parameters = bound.arguments
    about = validated(_About, {name: parameters[name] for name in _About.model_fields})
    recipe = ASKED.get()
    if recipe is None:
        recipe = with_sections(
            find_recipe(about.recipe_file or about.recipe), {name: parameters[name] for name in SECTIONS}
        )
    refuse_large_grid(recipe, about.max_points)
    return recipe, about.place
