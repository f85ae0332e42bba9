"""The flow `record`: a recipe from data to statistics, over all its seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow, get_run_logger
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import quote

from flows.dead_runs import end_with_worker, note_process
from flows.parameters import asked_for, run_name, with_recipe_parameters
from flows.shutdown import end_within
from pgolf.pipeline.before_stages import run_ready
from pgolf.pipeline.graph import Node
from pgolf.pipeline.listen import Both, Ledger
from pgolf.pipeline.place import Place
from pgolf.pipeline.plan import reasons_of
from pgolf.recipes.recipe import IMPORT, Recipe
from tasks.artifacts import StagesDone
from tasks.cache import Ref
from tasks.listening import FILED, LISTENER
from tasks.report import report_results, show_results
from tasks.stage_tasks import TASKS

# Less than the 30 s after which a Prefect worker kills what it has cancelled.
STOP_GRACE_S = 20.0


# A flow cannot tell what may pass, and would run all again: the user's retries are those of its tasks.
@flow(name="record", flow_run_name=run_name, retries=0)
@with_recipe_parameters(evaluation_only=False)
def record(**given: Any) -> dict[str, Ref]:
    """Run a recipe; a section that is given replaces the recipe's own as a whole.

    Returns a reference per stage output. Raises ConfigError for a grid of more than max_points points.
    """
    recipe, place = asked_for(given)
    return run_stages(recipe, place)


def run_stages(recipe: Recipe, place: Place, *, evaluation_only: bool = False) -> dict[str, Ref]:
    """Submit every stage as its inputs come to exist, then file the results. Raises the first stage's failure.

    evaluation_only: raises ConfigError, before any work, when more than that would have to run.
    """
    end_with_worker()
    kind = "sweep" if evaluation_only else "record"
    note_process([recipe.name, kind, *recipe.tags])
    with run_ready(
        recipe,
        place,
        place.open_store(),
        place.memo(),
        what=f"flow {kind} {recipe.name}",
        say=get_run_logger().info,
        evaluation_only=evaluation_only,
    ) as ready:
        recipe, nodes, steps = ready.recipe, ready.nodes, ready.steps
        for text in ready.notes:
            get_run_logger().info(text)
        ledger = Ledger(Both(LISTENER.get(), StagesDone(nodes)))
        token = LISTENER.set(ledger)
        try:
            refs = {name: future.result() for name, future in submit(nodes, place).items()}
        except BaseException as error:
            if not isinstance(error, Exception):  # SIGTERM, Ctrl-C, cancelled: not a stage's failure
                ledger.stop()
                end_within(STOP_GRACE_S)
            raise
        finally:
            LISTENER.reset(token)
        # Prefect answers for a cached stage without calling its task; it was reused all the same.
        for node in nodes:
            if node.name not in ledger.heard:
                ledger.done(node, refs[node.name].artifact(), built=False)
        reasons = quote(reasons_of(steps))
        outcome = report_results(quote(recipe), quote(nodes), refs, quote(place), quote(ledger.built), reasons)
        FILED.get()(outcome)
        show_results(quote(outcome), quote(place))
    return refs


def submit(nodes: Sequence[Node], place: Place) -> Mapping[str, PrefectFuture[Any]]:
    """A future per node; Prefect starts each when the ones it reads from are done.

    Imported weights come before all else: a file that does not fit ends the run before any work.
    """
    futures: dict[str, PrefectFuture[Any]] = {}
    imports = [node.name for node in nodes if node.stage is IMPORT]
    for node in nodes:
        # Its name is shown from the start, with a number behind it; its run's name once it begins.
        task = TASKS[node.stage.name].with_options(name=node.name, task_run_name=node.name)
        parents = {name: futures[name] for name in node.parents}
        before = [] if node.name in imports else [futures[name] for name in imports]
        # Quoted: Prefect need not search configs for futures.
        futures[node.name] = task.submit(quote(node), parents, quote(place), wait_for=before)
    return futures
