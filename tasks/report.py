"""The task that files a run's results in the tables and shows them in Prefect's UI."""

from collections.abc import Mapping, Sequence

from prefect import task
from prefect.artifacts import create_table_artifact

from pgolf.pipeline.graph import Node
from pgolf.pipeline.outcome import outcome_of
from pgolf.pipeline.place import Place
from pgolf.recipes.recipe import Recipe
from tasks.cache import Ref
from tasks.retries import may_pass


@task(name="report", retry_condition_fn=may_pass)
def report_results(
    recipe: Recipe,
    nodes: Sequence[Node],
    refs: dict[str, Ref],
    place: Place,
    built: Mapping[str, float],
    reasons: Mapping[str, str],
) -> str:
    """Append the run's rows to the result tables, draw them, and show the headline as a table artifact.

    Returns the run key.
    """
    artifacts = {name: ref.artifact() for name, ref in refs.items()}
    outcome = outcome_of(recipe, nodes, artifacts, place.results, built=built, reasons=reasons)
    outcome.file(place.results)
    outcome.draw(place.results)
    rows, notes = outcome.headline()
    create_table_artifact(
        key=f"pgolf-{recipe.name}", table=rows, description="; ".join((f"{recipe.name}: {outcome.run_key}", *notes))
    )
    return outcome.run_key
