"""The tasks that file a run's results in the tables, and that show them in Prefect's UI."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar

from prefect import task

from pgolf.pipeline.drawers import Drawers
from pgolf.pipeline.graph import Node
from pgolf.pipeline.outcome import Outcome, outcome_of
from pgolf.pipeline.pages import Pages, make_pages
from pgolf.pipeline.place import Place
from pgolf.recipes.recipe import Recipe
from tasks.artifacts import show_pages, show_scores
from tasks.cache import Ref
from tasks.retries import may_pass

# Who draw for the process that called the flow; None: the task itself.
DRAWERS: ContextVar[Drawers | None] = ContextVar("DRAWERS", default=None)
# Is told of both where the caller of a flow wants them: Prefect's results are references.
MADE: ContextVar[Callable[[tuple[Outcome, Pages]], None]] = ContextVar("MADE", default=lambda _made: None)


@task(name="report", task_run_name="report", retry_condition_fn=may_pass)
def report_results(
    recipe: Recipe,
    nodes: Sequence[Node],
    refs: dict[str, Ref],
    place: Place,
    built: Mapping[str, float],
    reasons: Mapping[str, str],
) -> Outcome:
    """Append the run's rows to the result tables, and show them as a table artifact."""
    artifacts = {name: ref.artifact() for name, ref in refs.items()}
    outcome = outcome_of(recipe, nodes, artifacts, place.results, built=built, reasons=reasons)
    outcome.file(place.results)
    show_scores(outcome)
    return outcome


@task(name="pictures and pages", task_run_name="pictures and pages", retry_condition_fn=may_pass)
def show_results(outcome: Outcome, place: Place) -> Pages:
    """Draw the filed rows and write the page of the run, and show both as a markdown artifact."""
    pages = make_pages(outcome, place.results, place.open_store(), DRAWERS.get())
    show_pages(outcome, pages)
    MADE.get()((outcome, pages))
    return pages
