"""A run before its first stage: names resolved, the graph planned, nothing against it, headline and seeds noted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pgolf.errors import StoreError
from pgolf.pipeline.configuration import configurations, data_inputs_of
from pgolf.pipeline.declared import declare
from pgolf.pipeline.graph import Node, pipeline
from pgolf.pipeline.place import Place
from pgolf.pipeline.plan import Step, make_plan, refuse_all_but_evaluation
from pgolf.pipeline.plan_notes import plan_notes
from pgolf.pipeline.preflight import check_run
from pgolf.pipeline.referring import note_results
from pgolf.pipeline.revisions import pin
from pgolf.recipes.changed import changed_settings
from pgolf.recipes.recipe import SCORE, Recipe
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from pgolf.tables.declared_seeds import declare_seeds


@dataclass(frozen=True, slots=True)
class Ready:
    """What will run. recipe: with commits in place of names that move. notes: what a person should be told."""

    recipe: Recipe
    nodes: Sequence[Node]
    steps: Sequence[Step]
    notes: tuple[str, ...]


@contextmanager
def run_ready(
    recipe: Recipe,
    place: Place,
    store: Store,
    memo: Memo,
    *,
    what: str,
    say: Callable[[str], None],
    evaluation_only: bool,
    handed_on: Callable[[Sequence[Step]], bool] = lambda _steps: False,
) -> Iterator[Ready]:
    """Check and declare a run, and hold the store until the block has filed its results.

    So nothing that the plan means to reuse, and nothing that is finished and not filed, is deleted under the run, and
    the store knows these results afterwards. what: our command, for others to read. handed_on: whether the block only
    hands the run to a flow, which may be refused yet and else declares it itself. Raises as `ready_to_run` does.
    """
    with store.using(what, say, make=False):
        ready = ready_to_run(recipe, place, store, memo, evaluation_only=evaluation_only, handed_on=handed_on)
        with store.using(what, say):  # a store that was not there yet, too
            if unnoted := note_results(store, place.results):
                say(unnoted)
            yield ready
            with suppress(StoreError):  # filed they are; the next run or collection notes it
                note_results(store, place.results)


def ready_to_run(
    recipe: Recipe,
    place: Place,
    store: Store,
    memo: Memo,
    *,
    evaluation_only: bool,
    handed_on: Callable[[Sequence[Step]], bool] = lambda _steps: False,
) -> Ready:
    """Check and declare a run. Raises ConfigError or FetchError for what would stop it later.

    evaluation_only: raises ConfigError where more than the evaluation would have to run. handed_on: see `run_ready`.
    """
    pinned = pin(recipe.fetch, store, place.sources())
    recipe = pinned.of(recipe)
    run = place.run_options()
    nodes = pipeline(recipe, place.sources(), run)
    steps = make_plan(nodes, store, memo)
    if evaluation_only:
        refuse_all_but_evaluation(steps)
    check_run(
        recipe,
        steps,
        run,
        store=place.store,
        results=place.results,
        evaluation_only=evaluation_only,
        configured=lambda: configurations(nodes, data_inputs_of(nodes, memo)),
    )
    pinned.refuse_unasked()
    if not handed_on(steps):
        _declare(recipe, place, nodes, steps, memo)
    return Ready(recipe, nodes, steps, plan_notes(recipe, pinned, nodes, steps))


def _declare(recipe: Recipe, place: Place, nodes: Sequence[Node], steps: Sequence[Step], memo: Memo) -> None:
    """Note the headline and the seeds: last of all, so that a run that is refused has declared nothing."""
    reused = [step.artifact.record for step in steps if step.node.stage is SCORE and step.artifact is not None]
    scored_utc = [record.started_utc for record in reused]
    declare(recipe, place.results, scored_utc=scored_utc)
    declare_seeds(
        place.results,
        recipe.name,
        configurations(nodes, data_inputs_of(nodes, memo)),
        base=recipe.base,
        changed=changed_settings(recipe),
        scored_utc=scored_utc,
    )
