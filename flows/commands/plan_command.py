"""`pgolf plan`: what would run and why, how long it takes and what it costs."""

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flows.commands.arguments import add_json, add_max_points, add_places, add_recipe, place_of, recipe_of
from flows.commands.folding import folded
from flows.commands.streams import hand_over, show, tell
from pgolf.errors import ConfigError
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.plan import GLANCE_BYTES, Step, expected_wall_s, make_plan
from pgolf.pipeline.plan_notes import plan_notes
from pgolf.pipeline.preflight import refusals
from pgolf.pipeline.revisions import pin
from pgolf.recipes.grid_text import refuse_large_grid
from pgolf.run_options import RunOptions

MARKS = {"reuse": "✓", "run": "▸", "depends": "?"}
REFUSED = "✗"


EXAMPLES = """examples:
  pgolf plan demo                                  what would run, and why
  pgolf plan demo --set compress.zstd_levels=16 --json
  pgolf plan demo --price-per-hour 23.92
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_recipe(parser)
    add_places(parser)
    add_max_points(parser)
    parser.add_argument("--price-per-hour", type=float, metavar="MONEY", help="price of the machine, to show the cost")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print one line per output: reuse, run or depends, the reasons, expected seconds and cost.

    Returns 2 where `pgolf run` would refuse to start here, and says why.
    """
    price = arguments.price_per_hour
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ConfigError(f"--price-per-hour is {price}; give a price such as 23.92")
    recipe = recipe_of(arguments)
    refuse_large_grid(recipe, arguments.max_points)
    place = place_of(arguments, recipe)
    store, memo, run = place.open_store(), place.memo(), place.run_options()
    pinned = pin(recipe.fetch, store, place.sources())
    recipe = pinned.of(recipe)
    nodes = pipeline(recipe, place.sources(), run)
    steps = make_plan(nodes, store, memo, run, most_read_bytes=GLANCE_BYTES)
    with_prefect = filter(None, [place.unfit_for_prefect()])
    for text in (*plan_notes(recipe, pinned, nodes, steps), *with_prefect):
        tell(text)
    refused = refusals(recipe, steps, run, store=place.store, results=place.results)
    if store.root.is_dir():
        store.save_memo()
        memo.save()
    if arguments.json:
        hand_over(json.dumps(plan_data(recipe.name, steps, run, price) | {"refused": list(refused)}, indent=2))
    else:
        print_steps(steps, run, price)
        for reason in refused:
            show(folded(f"{REFUSED} `pgolf run` would refuse here: {reason}"))
    return 2 if refused else 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Seconds of a plan. to_run: stages that run or may run; unknown: nodes among them without an estimate. The others
    take `seconds` one after the other, and `wall_s` at best, side by side. reused_s: what the reused ones took.
    """

    to_run: int
    seconds: float
    wall_s: float
    unknown: tuple[str, ...]
    reused: int
    reused_s: float

    @classmethod
    def of(cls, steps: Sequence[Step], run: RunOptions) -> "Totals":
        """The totals of a plan."""
        todo = [step for step in steps if step.action != "reuse"]
        known = [step.expected_s for step in todo if step.expected_s is not None]
        saved = [step.expected_s or 0.0 for step in steps if step.action == "reuse"]
        return cls(
            to_run=len(todo),
            seconds=round(sum(known), 3),
            wall_s=round(expected_wall_s(todo, run), 3),
            unknown=tuple(step.node.name for step in todo if step.expected_s is None),
            reused=len(saved),
            reused_s=round(sum(saved), 3),
        )


def plan_data(recipe: str, steps: Sequence[Step], run: RunOptions, price_per_hour: float | None) -> dict[str, object]:
    """The plan as plain data."""
    totals = Totals.of(steps, run)

    def cost(seconds: float) -> float | None:
        return None if price_per_hour is None else round(_cost(seconds, price_per_hour), 4)

    return {
        "recipe": recipe,
        "steps": [
            {
                "node": step.node.name,
                "stage": step.node.stage.name,
                "seed": step.node.seed,
                "action": step.action,
                "reasons": list(step.reasons),
                "expected_s": step.expected_s if step.action != "reuse" else 0.0,
                "expected_note": step.estimate.note,
                "folder": step.artifact.path.name if step.artifact else None,
            }
            for step in steps
        ],
        "expected_s": totals.seconds,
        "expected_wall_s": totals.wall_s,
        "nodes_without_estimate": len(totals.unknown),
        "without_estimate": list(totals.unknown),
        "reused_s": totals.reused_s,
        "expected_cost": cost(totals.seconds),
        "expected_wall_cost": cost(totals.wall_s),
        "reused_cost": cost(totals.reused_s),
    }


def print_steps(steps: Sequence[Step], run: RunOptions, price_per_hour: float | None) -> None:
    """The plan as aligned lines."""
    width = max(len(step.node.name) for step in steps)
    for step in steps:
        seconds = "" if step.action == "reuse" else "?" if step.expected_s is None else f"{step.expected_s:,.1f} s"
        text = step.artifact.path.name if step.artifact else "; ".join(step.reasons)
        note = f"  ({step.estimate.note})" if step.estimate.note else ""
        show(folded(f"{MARKS[step.action]} {step.action:<8} {step.node.name:<{width}}  {seconds:>9}  {text}{note}"))
    show(folded("; ".join(_sentences(Totals.of(steps, run), price_per_hour))))


def _sentences(totals: Totals, price_per_hour: float | None) -> list[str]:
    saves = f" (saves {totals.reused_s:,.1f} s)" if totals.reused_s else ""
    said = [f"{totals.reused} of {totals.to_run + totals.reused} reused{saves}"]
    side_by_side = totals.wall_s < 0.99 * totals.seconds
    nothing_known = 0 < totals.to_run == len(totals.unknown)
    unknown = _by_stage(totals.unknown)
    if nothing_known:
        said.append("no comparable earlier run to judge by")
    elif totals.to_run:
        if side_by_side:
            text = (
                f"{totals.wall_s:,.1f} s (stages side by side) to {totals.seconds:,.1f} s (one after the other) to run"
            )
            text += f", and what {unknown} will take" if totals.unknown else ""
        else:
            text = f"{'at least' if totals.unknown else 'about'} {totals.seconds:,.1f} s to run"
            text += f", without {unknown}" if totals.unknown else ""
        said.append(text)
    if price_per_hour is not None:
        wall, whole, saved = (_cost(s, price_per_hour) for s in (totals.wall_s, totals.seconds, totals.reused_s))
        if nothing_known:
            cost = f"cost unknown ({unknown})"
        elif totals.unknown:
            cost = f"cost at least {wall:.2f}, without {unknown}"
        else:
            cost = f"cost {wall:.2f} to {whole:.2f}" if side_by_side else f"cost {whole:.2f}"
        said.append(f"{cost}, saved {saved:.2f}")
    return said


def _by_stage(nodes: Sequence[str]) -> str:
    """The nodes by stage, with how many of each: train ×3, count ×2, mix[7]."""
    stages = Counter(node.partition("[")[0] for node in nodes)
    alone = {node.partition("[")[0]: node for node in nodes}
    return ", ".join(alone[stage] if n == 1 else f"{stage} ×{n}" for stage, n in stages.items())


def _cost(seconds: float, price_per_hour: float) -> float:
    return seconds / 3600 * price_per_hour
