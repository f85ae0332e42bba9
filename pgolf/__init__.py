"""pgolf turns a language-model recipe into a result that can be trusted.

    from pgolf import load_results, run

    base = run("demo", seeds=[1, 2])                     # what `pgolf run demo --no-prefect` does
    wider = run("demo", seeds=[1, 2], set={"model.mlp_width": 512})
    print(wider.compare(base))                           # a sentence, tables, a figure of characters
    wider.scores.groupby("estimator").bpb.min()          # a pandas DataFrame, as load_results() gives of all runs

Exports are lazy: `import pgolf` reads our files and loads nothing, and each name is imported on first use. (An export
must not share its name with a submodule, whose import would overwrite it.)
"""

TYPE_CHECKING = False  # instead of typing's: importing typing would cost more than the rest of this file
if TYPE_CHECKING:
    from pgolf.errors import PgolfError as PgolfError
    from pgolf.pipeline.build import build_all as build_all
    from pgolf.pipeline.build import build_node as build_node
    from pgolf.pipeline.declared import declare as declare
    from pgolf.pipeline.from_python import FinishedRun as FinishedRun
    from pgolf.pipeline.from_python import load_results as load_results
    from pgolf.pipeline.from_python import run as run
    from pgolf.pipeline.graph import Node as Node
    from pgolf.pipeline.graph import Sources as Sources
    from pgolf.pipeline.outcome import Outcome as Outcome
    from pgolf.pipeline.outcome import outcome_of as outcome_of
    from pgolf.pipeline.plan import Step as Step
    from pgolf.pipeline.plan import make_plan as make_plan
    from pgolf.recipes.catalog import recipe_named as recipe_named
    from pgolf.recipes.overrides import apply_overrides as apply_overrides
    from pgolf.recipes.recipe import Recipe as Recipe
    from pgolf.run_options import Progress as Progress
    from pgolf.run_options import RunOptions as RunOptions
    from pgolf.store.artifact import Artifact as Artifact
    from pgolf.store.artifact import Store as Store
    from pgolf.store.content import Memo as Memo

    __version__: str

_MODULE_OF = {
    "Artifact": "store.artifact",
    "FinishedRun": "pipeline.from_python",
    "Memo": "store.content",
    "Node": "pipeline.graph",
    "Outcome": "pipeline.outcome",
    "PgolfError": "errors",
    "Progress": "run_options",
    "Recipe": "recipes.recipe",
    "RunOptions": "run_options",
    "Sources": "pipeline.graph",
    "Step": "pipeline.plan",
    "Store": "store.artifact",
    "apply_overrides": "recipes.overrides",
    "build_all": "pipeline.build",
    "build_node": "pipeline.build",
    "declare": "pipeline.declared",
    "load_results": "pipeline.from_python",
    "make_plan": "pipeline.plan",
    "outcome_of": "pipeline.outcome",
    "recipe_named": "recipes.catalog",
    "run": "pipeline.from_python",
}

__all__ = [
    "Artifact",
    "FinishedRun",
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
    "declare",
    "load_results",
    "make_plan",
    "outcome_of",
    "recipe_named",
    "run",
]


def _take_snapshot() -> None:
    """Import everything of ours from one reading of its files; see `pgolf.identity.snapshot`.

    That module is compiled here, from its source: Python might have an old .pyc of it.
    """
    import os
    import sys

    for finder in sys.meta_path:
        if type(finder).__name__ == "SnapshotImporter":  # pgolf was imported before, and is reloaded
            sys.modules["pgolf.identity.snapshot"] = finder.module  # type: ignore[attr-defined]
            return
    folder = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(folder, "identity", "snapshot.py")
    module = type(sys)("pgolf.identity.snapshot")
    module.__file__ = path
    sys.modules[module.__name__] = module
    exec(compile(globals()["__loader__"].get_data(path), path, "exec"), module.__dict__)
    module.begin(folder)


_take_snapshot()


def __getattr__(name: str) -> object:
    """Import an exported name from its module on first use."""
    if name == "__version__":
        from importlib import metadata

        found: object = metadata.version(__name__)
    elif name in _MODULE_OF:
        from importlib import import_module

        found = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
