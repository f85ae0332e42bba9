"""`pgolf run` and `pgolf sweep`: plan, build what is missing, file the results, show them."""

import argparse
import json
import time
from collections.abc import Mapping, Sequence

from flows.arguments import place_of, recipe_of
from flows.console import Console
from flows.settings import apply_settings, server_configured
from pgolf.artifact import Artifact
from pgolf.errors import ConfigError
from pgolf.outcome import file_results
from pgolf.pipeline import Node, pipeline
from pgolf.plan import Step, make_plan
from pgolf.recipe import Recipe
from tasks.place import Place

SWEEP_STAGES = ("score", "count", "mix")


def run(arguments: argparse.Namespace) -> int:
    """Run a recipe."""
    return _run(arguments, only=None)


def sweep(arguments: argparse.Namespace) -> int:
    """Evaluate a grid on finished artifacts. Raises ConfigError when data or weights would have to be made first."""
    return _run(arguments, only=SWEEP_STAGES)


def _run(arguments: argparse.Namespace, *, only: Sequence[str] | None) -> int:
    started = time.perf_counter()
    recipe, place = recipe_of(arguments), place_of(arguments)
    nodes = pipeline(recipe, place.sources(), place.run_options())
    store, memo = place.open_store(), place.memo()
    steps = make_plan(nodes, store, memo)
    if only is not None:
        _refuse_other_stages(steps, only)
    todo = [step for step in steps if step.action != "reuse"]
    with Console(reasons={step.node.name: "; ".join(step.reasons) for step in todo}) as console:
        console.say(f"{recipe.name}: {len(steps) - len(todo)} of {len(steps)} stages reused, {len(todo)} to look at")
        if not todo and not server_configured():
            # Nothing has to run and nobody watches: no server is started, no Prefect imported.
            artifacts = {step.node.name: step.artifact for step in steps if step.artifact is not None}
            for step in steps:
                console.done(step.node, artifacts[step.node.name], built=False)
            store.save_memo()
            memo.save()
        elif arguments.no_prefect:
            artifacts = _run_plain(nodes, place, console)
        else:
            artifacts = _run_in_prefect(recipe, place, console)
    outcome = file_results(recipe, nodes, artifacts, place.results, built=console.built, reasons=_reasons(todo))
    if arguments.json:
        print(json.dumps(outcome.data(), indent=2))
    else:
        print(outcome.text())
    _say_share(console, started, prefect=bool(todo or server_configured()) and not arguments.no_prefect)
    return outcome.exit_code()


def _reasons(steps: Sequence[Step]) -> dict[str, str]:
    return {step.node.name: "; ".join(step.reasons) for step in steps}


def _refuse_other_stages(steps: Sequence[Step], only: Sequence[str]) -> None:
    wrong = [step for step in steps if step.action == "run" and step.node.stage.name not in only]
    if wrong:
        lines = "\n".join(f"  {step.node.name}: {'; '.join(step.reasons)}" for step in wrong)
        raise ConfigError(
            f"a sweep evaluates finished artifacts, but {len(wrong)} of their stages would have to run:\n{lines}\n"
            "take these overrides back, or use `pgolf run`"
        )


def _run_plain(nodes: Sequence[Node], place: Place, console: Console) -> dict[str, Artifact]:
    from pgolf.build import build_all

    store, memo = place.open_store(), place.memo()
    try:
        return build_all(nodes, store, memo, place.run_options(), console)
    finally:
        store.save_memo()
        memo.save()


def _run_in_prefect(recipe: Recipe, place: Place, console: Console) -> Mapping[str, Artifact]:
    apply_settings(quiet=True)
    from flows.record import record
    from pgolf.recipe import Recipe as _Recipe
    from tasks.listening import LISTENER

    token = LISTENER.set(console)
    try:
        sections = {name: getattr(recipe, name) for name in _Recipe.model_fields if name not in ("name", "description")}
        refs = record(recipe=recipe.name, place=place, **sections)
    finally:
        LISTENER.reset(token)
    return {name: ref.artifact() for name, ref in refs.items()}


def _say_share(console: Console, started: float, *, prefect: bool) -> None:
    wall_s = time.perf_counter() - started
    if prefect:
        stages_s = console.building_s()
        console.say(
            f"{wall_s:.1f} s in all: stages {stages_s:.1f} s, Prefect and start-up {wall_s - stages_s:.1f} s "
            f"({100 * (wall_s - stages_s) / wall_s:.0f} %)"
        )
    else:
        console.say(f"{wall_s:.1f} s in all")
