"""The parameters of both flows, made from the sections of a recipe: one definition of signature, form and call.

Each section is a parameter of its own because Prefect merges a run's parameters over a deployment's at the top level
only: of one nested parameter a run that changes a field would drop all others, and train again.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from inspect import Parameter, Signature
from typing import Any, TypeVar

from pydantic import BaseModel

from pgolf.pipeline.place import Place
from pgolf.recipes.catalog import with_sections
from pgolf.recipes.grid_text import MOST_POINTS, refuse_large_grid
from pgolf.recipes.overrides import validated
from pgolf.recipes.recipe import Recipe
from pgolf.recipes.recipe_file import find_recipe

Function = TypeVar("Function", bound=Callable[..., Any])
# What a program in this process asks for: of it the parameters tell Prefect, and cannot tell everything, such as that a
# recipe does without a section that the one of its name has.
ASKED: ContextVar[Recipe | None] = ContextVar("ASKED", default=None)
SECTIONS = tuple(name for name in Recipe.model_fields if name not in ("name", "description", "base"))


class _About(BaseModel):
    """The parameters that are no sections, checked once more: a program may call a flow's function itself."""

    recipe: str
    max_points: int
    place: Place


def _parameters() -> Iterator[tuple[Parameter, str]]:
    """Each parameter, and what the form in Prefect's UI says of it."""

    def parameter(name: str, annotation: Any, default: object) -> Parameter:
        return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=default)

    yield parameter("recipe", str, "demo"), "Name of a recipe, from `pgolf recipes`, or a file of one, my.toml"
    for name in SECTIONS:
        section = Recipe.model_fields[name]
        annotation: Any = section.annotation
        yield parameter(name, annotation | None, None), f"{section.description}; empty: the recipe's"
    yield parameter("max_points", int, MOST_POINTS), "A grid of more points is refused"
    where = "Folders and devices of the machine that runs it; relative paths begin in its PGOLF_HOME"
    yield parameter("place", Place, Place()), where


_SIGNATURE = Signature([parameter for parameter, _ in _parameters()])
_TEXTS = "\n".join(f"    {parameter.name}: {text}" for parameter, text in _parameters())


def with_recipe_parameters(function: Function) -> Function:
    """`function(**given)` with the parameters that Prefect then reads from its signature and its docstring."""
    function.__signature__ = _SIGNATURE  # type: ignore[attr-defined]
    function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nArgs:\n{_TEXTS}\n"
    return function


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
        recipe = with_sections(find_recipe(about.recipe), {name: parameters[name] for name in SECTIONS})
    refuse_large_grid(recipe, about.max_points)
    return recipe, about.place
