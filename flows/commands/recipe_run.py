"""Running a recipe from the command line: plan, build what is missing, file the results, show them."""

import argparse
import json
import time
from collections.abc import Sequence

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
from flows.settings import (
    SETTINGS,
    STARTUP,
    apply_settings,
    prefect_home,
    refuse_unusable_settings,
    server,
    server_configured,
    use_passive_openmp,
    without_secrets,
)
from flows.shutdown import end_server_with_us, ended_by_sigterm
from pgolf.errors import ConfigError
from pgolf.pipeline.before_stages import run_ready
from pgolf.pipeline.build import build_all
from pgolf.pipeline.listen import Ledger
from pgolf.pipeline.outcome import outcome_of
from pgolf.pipeline.place import Place
from pgolf.pipeline.plan import reasons_of
from pgolf.pipeline.run_report import write_report
from pgolf.recipes.grid_text import refuse_large_grid
from pgolf.recipes.recipe import Recipe
from pgolf.store.artifact import Artifact


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
    started = time.perf_counter()
    use_passive_openmp()
    refuse_large_grid(recipe, arguments.max_points)
    place = place_of(arguments, recipe)
    has_server = not arguments.no_prefect and server_configured()
    store, memo = place.open_store(), place.memo()
    what = f"pgolf {arguments.command} {recipe.name}"
    with run_ready(recipe, place, store, memo, what=what, say=tell, evaluation_only=evaluation_only) as ready:
        recipe, nodes, steps = ready.recipe, ready.nodes, ready.steps
        reasons = reasons_of(steps)
        in_prefect = not arguments.no_prefect and (has_server or bool(reasons))
        with ended_by_sigterm(), Console(reasons) as console:
            ledger = Ledger(console)
            for text in (*said, *ready.notes):
                console.say(text)
            console.say(
                f"{recipe.name}: {len(steps) - len(reasons)} of {len(steps)} stages reused, {len(reasons)} to look at"
            )
            if in_prefect:
                artifacts = _run_in_prefect(recipe, place, ledger, arguments.max_points, evaluation_only)
            elif reasons or place.remote is not None:  # what is reused may have to be fetched first
                artifacts = build_all(nodes, store, memo, place.run_options(), ledger)
            else:
                # Nothing has to run and nobody watches: no server is started, no Prefect imported.
                artifacts = {step.node.name: step.artifact for step in steps if step.artifact is not None}
                for node in nodes:
                    ledger.done(node, artifacts[node.name], built=False)
            store.save_memo()
            memo.save()
            outcome = outcome_of(recipe, nodes, artifacts, place.results, built=ledger.built, reasons=reasons)
            if not in_prefect:  # there the flow itself has filed them
                outcome.file(place.results)
                outcome.draw(place.results)
            if arguments.json:
                hand_over(json.dumps(outcome.data(), indent=2))
            else:
                show(outcome.text(table_width(arguments)))
            report = write_report([outcome.run_key], place.results, store)
            (tell if arguments.json else show)(f"report  {arguments.results / report.relative_to(place.results)}")
            _say_share(console, ledger.building_s(), time.perf_counter() - started, in_prefect)
    return outcome.exit_code()


def _run_in_prefect(
    recipe: Recipe, place: Place, ledger: Ledger, max_points: int, evaluation_only: bool
) -> dict[str, Artifact]:
    if why := place.unfit_for_prefect():
        raise ConfigError(why)
    apply_settings(quiet=True)
    refuse_unusable_settings()
    if not server_configured():
        end_server_with_us()
    from flows.dead_runs import watch_heartbeats
    from flows.parameters import ASKED, SECTIONS
    from flows.prefect_server import configured_server
    from flows.record import record
    from flows.sweep import sweep as sweep_flow
    from tasks.listening import LISTENER

    token, asked = LISTENER.set(ledger), ASKED.set(recipe)
    try:
        if server_configured():
            with configured_server() as client:
                watch_heartbeats(client)
        flow = sweep_flow if evaluation_only else record
        sections = {name: getattr(recipe, name) for name in SECTIONS}
        refs = flow(recipe=recipe.name, place=place, max_points=max_points, **sections)
    except RuntimeError as error:
        if "Timed out while attempting to connect to ephemeral" in str(error):
            raise ConfigError(
                f"Prefect's own server did not start within {SETTINGS[STARTUP]} s; see whether {prefect_home()} can be "
                f"written to, give it longer ({STARTUP}), or add --no-prefect"
            ) from None
        configured = server()
        if "Failed to reach API" not in str(error) or configured is None:
            raise
        raise ConfigError(f"{without_secrets(str(error))}; start that server, or unset {configured.source}") from None
    finally:
        LISTENER.reset(token)
        ASKED.reset(asked)
    return {name: ref.artifact() for name, ref in refs.items()}


def _say_share(console: Console, stages_s: float, wall_s: float, in_prefect: bool) -> None:
    if in_prefect:
        rest_s = wall_s - stages_s
        share = f"stages {stages_s:.1f} s, Prefect and start-up {rest_s:.1f} s ({100 * rest_s / wall_s:.0f} %)"
        console.say(f"{wall_s:.1f} s in all: {share}")
    else:
        console.say(f"{wall_s:.1f} s in all")
