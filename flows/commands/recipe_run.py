"""Running a recipe from the command line: plan, build what is missing, file the results, show them."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from flows.commands.arguments import (
    add_json,
    add_max_points,
    add_naming,
    add_places,
    add_recipe,
    add_wide,
    place_of,
    table_width,
)
from flows.commands.console import Console
from flows.commands.streams import hand_over, show, tell
from flows.own_server import own_server, without_heartbeats
from flows.settings import (
    apply_settings,
    refuse_unusable_settings,
    refuse_unwritable_home,
    server_configured,
    use_passive_openmp,
    without_secrets,
)
from flows.settings import server as configured_setting
from flows.shutdown import ended_by_ctrl_c, ended_by_sigterm
from pgolf.errors import ConfigError
from pgolf.machine.process import age_s
from pgolf.pipeline.before_stages import run_ready
from pgolf.pipeline.build import build_all
from pgolf.pipeline.drawers import Drawers
from pgolf.pipeline.graph import Node
from pgolf.pipeline.listen import Both, Ledger, Silence
from pgolf.pipeline.outcome import Outcome, outcome_of
from pgolf.pipeline.pages import Pages, make_pages
from pgolf.pipeline.place import Place
from pgolf.pipeline.plan import Step, reasons_of
from pgolf.pipeline.status import forget_own, kept_since
from pgolf.recipes.grid_text import refuse_large_grid
from pgolf.recipes.recipe import MIX, Recipe
from pgolf.store.artifact import PARTIAL, import_entry


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What `pgolf run` and `pgolf sweep` both take."""
    add_recipe(parser)
    add_naming(parser)
    add_places(parser)
    add_max_points(parser)
    parser.add_argument("--no-prefect", action="store_true", help="run the stages in this process, without Prefect")
    add_wide(parser)
    add_json(parser)


def run_recipe(
    recipe: Recipe, arguments: argparse.Namespace, said: Sequence[str] = (), *, evaluation_only: bool
) -> int:
    """Build what is missing, file the results and show them; 1 where an artifact is over its budget, else 0.

    said: what a person is told first. evaluation_only: raises ConfigError where more than the evaluation would have to
    run.
    """
    use_passive_openmp()
    refuse_large_grid(recipe, arguments.max_points)
    place = place_of(arguments, recipe)
    has_server = not arguments.no_prefect and server_configured()
    store, memo = place.open_store(), place.memo()
    what = f"pgolf {arguments.command} {recipe.name}"

    def goes_to_prefect(steps: Sequence[Step]) -> bool:
        return not arguments.no_prefect and (has_server or bool(reasons_of(steps)))

    with run_ready(
        recipe, place, store, memo, what=what, say=tell, evaluation_only=evaluation_only, handed_on=goes_to_prefect
    ) as ready:
        recipe, nodes, steps = ready.recipe, ready.nodes, ready.steps
        reasons, in_prefect = reasons_of(steps), goes_to_prefect(steps)
        with _drawers(steps) as drawers, ended_by_sigterm(), Console(reasons) as console:
            ledger = Ledger(Both(console, _Foresight(drawers)))
            for text in (*said, *ready.notes):
                console.say(text)
            console.say(
                f"{recipe.name}: {len(steps) - len(reasons)} of {len(steps)} stages reused, {len(reasons)} to look at"
            )
            shown = _Shown(as_json=arguments.json, width=table_width(arguments))
            if in_prefect:
                outcome, pages = _run_in_prefect(
                    recipe, place, ledger, console, shown, drawers, arguments.max_points, evaluation_only
                )
            else:
                if reasons or place.remote is not None:  # what is reused may have to be fetched first
                    with _ended_by_ctrl_c(console, place):
                        artifacts = build_all(nodes, store, memo, place.run_options(), ledger)
                else:
                    # Nothing has to run and nobody watches: no server is started, no Prefect imported.
                    artifacts = {step.node.name: step.artifact for step in steps if step.artifact is not None}
                    for node in nodes:
                        ledger.done(node, artifacts[node.name], built=False)
                outcome = outcome_of(recipe, nodes, artifacts, place.results, built=ledger.built, reasons=reasons)
                outcome.file(place.results)
                shown.rows(outcome)
                pages = make_pages(outcome, place.results, store, drawers)
            store.save_memo()
            memo.save()
            shown.pages(outcome, pages)
            console.say(_shares(age_s(), ledger.building_s(), pages.wall_s, in_prefect=in_prefect))
    return outcome.exit_code()


class _Shown:
    """A finished run on standard output: its rows as soon as they are filed, then what was drawn; JSON at once."""

    def __init__(self, *, as_json: bool, width: int | None) -> None:
        self._as_json, self._width = as_json, width

    def rows(self, outcome: Outcome) -> None:
        """What a person waits for."""
        if not self._as_json:
            show(outcome.text(self._width), flush=True)

    def pages(self, outcome: Outcome, pages: Pages) -> None:
        """Where the pictures are; or all of it, for a program."""
        if self._as_json:
            hand_over(json.dumps(outcome.data() | pages.data(), indent=2))
        elif lines := pages.lines():
            show("\n".join(lines))


class _Foresight(Silence):
    """Has what draws get ready while the mixtures are computed."""

    def __init__(self, drawers: Drawers | None) -> None:
        self._drawers = drawers

    def building(self, node: Node) -> None:
        """The first mixture means that there will be pictures."""
        if self._drawers is not None and node.stage is MIX:
            self._drawers.get_ready()


@contextmanager
def _drawers(steps: Sequence[Step]) -> Iterator[Drawers | None]:
    """Processes that can draw, where mixtures have to be computed and this process has no threads yet."""
    mixes = any(step.node.stage is MIX and step.action != "reuse" for step in steps)
    drawers = Drawers.forked() if mixes else None
    with drawers or nullcontext():
        yield drawers


def _run_in_prefect(
    recipe: Recipe,
    place: Place,
    ledger: Ledger,
    console: Console,
    shown: _Shown,
    drawers: Drawers | None,
    max_points: int,
    evaluation_only: bool,
) -> tuple[Outcome, Pages]:
    if why := place.unfit_for_prefect():
        raise ConfigError(why)
    apply_settings(quiet=True)
    refuse_unwritable_home()

    def report() -> None:
        if dead_runs := sys.modules.get("flows.dead_runs"):
            dead_runs.cancel_own_run()

    with ExitStack() as stack:
        stack.enter_context(_ended_by_ctrl_c(console, place, report))
        # Before Prefect is imported: its settings, as all threads see them, are those of then.
        server = None if server_configured() else stack.enter_context(own_server())
        refuse_unusable_settings()
        from flows.dead_runs import watch_heartbeats  # while the server starts
        from flows.parameters import ASKED, flow_parameters
        from flows.prefect_server import configured_server
        from flows.record import record
        from flows.sweep import sweep as sweep_flow
        from tasks.listening import FILED, LISTENER
        from tasks.report import DRAWERS, MADE

        made: list[tuple[Outcome, Pages]] = []
        for variable, value in (
            (LISTENER, ledger), (ASKED, recipe), (FILED, shown.rows), (DRAWERS, drawers), (MADE, made.append)
        ):  # fmt: skip
            stack.callback(variable.reset, variable.set(value))
        if server is not None:
            stack.enter_context(without_heartbeats())
            if drawers is not None:
                _get_ready_to_mix(drawers)
            server.wait()
        else:
            with configured_server() as client:
                watch_heartbeats(client)
        flow = sweep_flow if evaluation_only else record
        try:
            flow(**flow_parameters(flow, recipe, place, max_points))
        except RuntimeError as error:
            configured = None if server is not None else configured_setting()
            if "Failed to reach API" not in str(error) or configured is None:
                raise
            raise ConfigError(
                f"{without_secrets(str(error))}; start that server, or unset {configured.source}"
            ) from None
    return made[0]


def _ended_by_ctrl_c(
    console: Console, place: Place, report: Callable[[], None] = lambda: None
) -> AbstractContextManager[None]:
    """Within it Ctrl-C ends the run in a line that says what trainings have kept. report: tells others of the end."""
    return ended_by_ctrl_c(
        quiet=console.close,
        kept=lambda since_s: kept_since(place.store / PARTIAL, since_s),
        report=report,
        clear_up=lambda: forget_own(place.store),
    )


def _get_ready_to_mix(drawers: Drawers) -> None:
    """Import, while a server starts on another core, what the first task and a mixture would import."""
    drawers.get_ready()
    import prefect.flow_engine
    import prefect.task_engine  # noqa: F401

    import_entry(MIX.entry)


def _shares(wall_s: float, stages_s: float, drawing_s: float, *, in_prefect: bool) -> str:
    """Where the seconds since this process began went: 12.0 s in all: stages 1.1 s (9 %), drawing …, the rest …."""
    parts = {"stages": stages_s, "drawing": drawing_s}
    parts["Prefect and start-up" if in_prefect else "start-up and tables"] = wall_s - stages_s - drawing_s
    said = (f"{name} {part_s:.1f} s ({100 * part_s / wall_s:.0f} %)" for name, part_s in parts.items())
    return f"{wall_s:.1f} s in all: {', '.join(said)}"
