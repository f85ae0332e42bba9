"""A name that a run is given, while another run goes by it: found before any work, since its rows would be no one's."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgolf.errors import ConfigError
from pgolf.identity.fingerprint import digest
from pgolf.recipes.changed import is_named, without_idle
from pgolf.recipes.recipe import ABOUT, Recipe

if TYPE_CHECKING:
    from pgolf.tables.named_runs import Run

# Seed -> its configuration (`pgolf.pipeline.configuration`).
Configured = Callable[[], Mapping[int, Any]]


def taken(recipe: Recipe, results: Path, configured: Configured | None) -> str | None:
    """What stands against the name that somebody has given a run, with the way out; None where nothing does.

    The same configuration may run again under its name: the same settings and seeds on the same data, whatever the
    code. A name that says what the recipe changes is nobody's choice, and several runs may have it. configured: tells
    the data as well; None where that would take long. Loads Arrow only for a given name. Raises ResultsError.
    """
    if not is_named(recipe):
        return None
    from pgolf.tables.named_runs import Run, refuse_taken, runs_in

    runs = runs_in(results)
    others = [run for run in runs if run.name != recipe.run_name or not _is_same(run, recipe, results, configured)]
    try:
        refuse_taken(recipe.run_name, Run(key="", recipe=recipe.name, recipe_key=None, name=recipe.run_name), others)
    except ConfigError as error:
        return str(error)
    return None


def _is_same(run: "Run", recipe: Recipe, results: Path, configured: Configured | None) -> bool:
    mine = without_idle(recipe).model_dump(mode="json")
    if run.recipe != recipe.name or any(
        run.config.get(name) != value for name, value in mine.items() if name not in ABOUT
    ):
        return False
    if configured is None:
        return True
    from pgolf.tables.parquet import read
    from pgolf.tables.schema import SCORES

    rows = read(results, SCORES, {"run_key": run.key}, columns=["seed", "config_key"], run_keys=run.key)
    known = set(zip(*(rows.column(name).to_pylist() for name in ("seed", "config_key"))))
    return known == {(seed, digest(settings)) for seed, settings in configured().items()}
