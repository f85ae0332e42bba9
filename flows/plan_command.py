"""`pgolf plan`."""

import argparse
import json
import math
from collections.abc import Sequence

from flows.arguments import place_of, recipe_of
from pgolf.errors import ConfigError
from pgolf.pipeline import pipeline
from pgolf.plan import Step, make_plan

MARKS = {"reuse": "✓", "run": "▸", "depends": "?"}


def plan(arguments: argparse.Namespace) -> int:
    """Print one line per output: reuse, run or depends, the reasons, expected seconds and cost."""
    price = arguments.price_per_hour
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ConfigError(f"--price-per-hour is {price}; give a price such as 23.92")
    recipe = recipe_of(arguments)
    place = place_of(arguments, recipe)
    store, memo = place.open_store(), place.memo()
    steps = make_plan(pipeline(recipe, place.sources(), place.run_options()), store, memo)
    if store.root.is_dir():
        store.save_memo()
        memo.save()
    if arguments.json:
        print(json.dumps(plan_data(recipe.name, steps, price), indent=2))
    else:
        print_steps(steps, price)
    return 0


def plan_data(recipe: str, steps: Sequence[Step], price_per_hour: float | None) -> dict[str, object]:
    """The plan as plain data."""
    expected_s, unknown = expected_seconds(steps)
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
                "folder": step.artifact.path.name if step.artifact else None,
            }
            for step in steps
        ],
        "expected_s": expected_s,
        "nodes_without_estimate": unknown,
        "reused_s": round(sum(step.expected_s or 0.0 for step in steps if step.action == "reuse"), 3),
        "expected_cost": None if price_per_hour is None else round(expected_s / 3600 * price_per_hour, 4),
    }


def expected_seconds(steps: Sequence[Step]) -> tuple[float, int]:
    """Seconds of the stages that run or may run, from earlier runs, and how many of them have no earlier run."""
    todo = [step for step in steps if step.action != "reuse"]
    known = [step.expected_s for step in todo if step.expected_s is not None]
    return round(sum(known), 3), len(todo) - len(known)


def print_steps(steps: Sequence[Step], price_per_hour: float | None) -> None:
    """The plan as aligned lines."""
    width = max(len(step.node.name) for step in steps)
    for step in steps:
        seconds = "" if step.action == "reuse" else "?" if step.expected_s is None else f"{step.expected_s:.1f} s"
        text = step.artifact.path.name if step.artifact else "; ".join(step.reasons)
        print(f"{MARKS[step.action]} {step.action:<8} {step.node.name:<{width}}  {seconds:>9}  {text}")
    expected_s, unknown = expected_seconds(steps)
    reused = sum(step.action == "reuse" for step in steps)
    saved_s = sum(step.expected_s or 0.0 for step in steps if step.action == "reuse")
    line = f"{reused} of {len(steps)} reused"
    if saved_s:
        line += f" (saves {saved_s:.1f} s)"
    if reused < len(steps):
        line += (
            f"; about {expected_s:.1f} s to run" if unknown < len(steps) - reused else "; no earlier run to judge by"
        )
        if 0 < unknown < len(steps) - reused:
            line += f" and {unknown} without an earlier run"
    if price_per_hour is not None:
        line += f"; cost {expected_s / 3600 * price_per_hour:.2f}, saved {saved_s / 3600 * price_per_hour:.2f}"
    print(line)
