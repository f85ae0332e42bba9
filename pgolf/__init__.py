"""pgolf turns a language-model recipe into a result that can be trusted.

    from pathlib import Path
    from pgolf import Memo, RunOptions, Store, build_all, outcome_of, recipe_named
    from pgolf.pipeline import pipeline

    recipe = recipe_named("demo")
    nodes = pipeline(recipe)
    artifacts = build_all(nodes, Store(Path("artifacts")), Memo(Path("artifacts/.sources.sqlite")), RunOptions())
    print(outcome_of(recipe, nodes, artifacts, Path("results")).text())

A name is imported from its module when it is first used; `import pgolf` by itself loads nothing. (A name cannot also be
that of a module: importing the module would take its place. Hence the second line above.)
"""

TYPE_CHECKING = False  # as in typing, whose import would take longer than all of this file
if TYPE_CHECKING:
    from pgolf.artifact import Artifact as Artifact
    from pgolf.artifact import Store as Store
    from pgolf.build import build_all as build_all
    from pgolf.build import build_node as build_node
    from pgolf.content import Memo as Memo
    from pgolf.errors import PgolfError as PgolfError
    from pgolf.outcome import Outcome as Outcome
    from pgolf.outcome import outcome_of as outcome_of
    from pgolf.overrides import apply_overrides as apply_overrides
    from pgolf.pipeline import Node as Node
    from pgolf.pipeline import Sources as Sources
    from pgolf.plan import Step as Step
    from pgolf.plan import make_plan as make_plan
    from pgolf.recipe import Recipe as Recipe
    from pgolf.recipes import recipe_named as recipe_named
    from pgolf.run import Progress as Progress
    from pgolf.run import RunOptions as RunOptions

    __version__: str

_HOMES = {
    "Artifact": "artifact",
    "Memo": "content",
    "Node": "pipeline",
    "Outcome": "outcome",
    "PgolfError": "errors",
    "Progress": "run",
    "Recipe": "recipe",
    "RunOptions": "run",
    "Sources": "pipeline",
    "Step": "plan",
    "Store": "artifact",
    "apply_overrides": "overrides",
    "build_all": "build",
    "build_node": "build",
    "make_plan": "plan",
    "outcome_of": "outcome",
    "recipe_named": "recipes",
}

__all__ = [
    "Artifact",
    "Memo",
    "Node",
    "Outcome",
    "PgolfError",
    "Progress",
    "Recipe",
    "RunOptions",
    "Sources",
    "Step",
    "Store",
    "__version__",
    "apply_overrides",
    "build_all",
    "build_node",
    "make_plan",
    "outcome_of",
    "recipe_named",
]


def __getattr__(name: str) -> object:
    """The exported name, from the module that defines it."""
    if name == "__version__":
        from importlib import metadata

        found: object = metadata.version(__name__)
    elif name in _HOMES:
        from importlib import import_module

        found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
