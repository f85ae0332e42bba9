"""`pgolf plan`."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from flows.arguments import place_of, recipe_of
from pgolf.errors import ConfigError
from pgolf.pipeline import pipeline
from pgolf.plan import GLANCE_BYTES, Step, expected_wall_s, make_plan
from pgolf.run import RunOptions

MARKS = {"reuse": "✓", "run": "▸", "depends": "?"}


def plan(arguments: argparse.Namespace) -> int:
    """Print one line per output: reuse, run or depends, the reasons, expected seconds and cost."""
    price = arguments.price_per_hour
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ConfigError(f"--price-per-hour is {price}; give a price such as 23.92")
    recipe = recipe_of(arguments)
    place = place_of(arguments, recipe)
    store, memo, run = place.open_store(), place.memo(), place.run_options()
    steps = make_plan(pipeline(recipe, place.sources(), run), store, memo, run, most_read_bytes=GLANCE_BYTES)
    if store.root.is_dir():
        store.save_memo()
        memo.save()
    if arguments.json:
        print(json.dumps(plan_data(recipe.name, steps, run, price), indent=2))
    else:
        print_steps(steps, run, price)
    return 0


@dataclass(frozen=True, slots=True)
class Total:
    """Seconds of several stages: one after the other, and at best, side by side; how many are not known."""

    steps: int
    seconds: float
    wall_s: float
    unknown: int

    @classmethod
    def of(cls, steps: Sequence[Step], run: RunOptions) -> "Total":
        """The total of these steps."""
        known = [step.expected_s for step in steps if step.expected_s is not None]
        wall_s = expected_wall_s(steps, run)
        return cls(len(steps), round(sum(known), 3), round(wall_s, 3), len(steps) - len(known))


def totals(steps: Sequence[Step], run: RunOptions) -> tuple[Total, Total]:
    """Of what runs or may run, and of what is reused."""
    reused = [step for step in steps if step.action == "reuse"]
    return Total.of([step for step in steps if step.action != "reuse"], run), Total.of(reused, run)


def plan_data(recipe: str, steps: Sequence[Step], run: RunOptions, price_per_hour: float | None) -> dict[str, object]:
    """The plan as plain data."""
    todo, reused = totals(steps, run)

    def price(seconds: float) -> float | None:
        return None if price_per_hour is None else round(seconds / 3600 * price_per_hour, 4)

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
        "expected_s": todo.seconds,
        "expected_wall_s": todo.wall_s,
        "nodes_without_estimate": todo.unknown,
        "reused_s": reused.seconds,
        "expected_cost": price(todo.seconds),
        "expected_wall_cost": price(todo.wall_s),
        "reused_cost": price(reused.seconds),
    }


def print_steps(steps: Sequence[Step], run: RunOptions, price_per_hour: float | None) -> None:
    """The plan as aligned lines."""
    width = max(len(step.node.name) for step in steps)
    for step in steps:
        seconds = "" if step.action == "reuse" else "?" if step.expected_s is None else f"{step.expected_s:,.1f} s"
        text = step.artifact.path.name if step.artifact else "; ".join(step.reasons)
        note = f"  ({step.estimate.note})" if step.estimate.note else ""
        print(f"{MARKS[step.action]} {step.action:<8} {step.node.name:<{width}}  {seconds:>9}  {text}{note}")
    todo, reused = totals(steps, run)
    print("; ".join(_sentences(todo, reused, price_per_hour)))


def _sentences(todo: Total, reused: Total, price_per_hour: float | None) -> list[str]:
    saves = f" (saves {reused.seconds:,.1f} s)" if reused.seconds else ""
    said = [f"{reused.steps} of {todo.steps + reused.steps} reused{saves}"]
    side_by_side = todo.wall_s < 0.99 * todo.seconds
    if todo.unknown < todo.steps:
        text = f"about {todo.seconds:,.1f} s to run"
        text += f", {todo.wall_s:,.1f} s at best with stages side by side" if side_by_side else ""
        text += f", and {todo.unknown} without a comparable earlier run" if todo.unknown else ""
        said.append(text)
    elif todo.steps:
        said.append("no comparable earlier run to judge by")
    if price_per_hour is not None:
        per_s = price_per_hour / 3600
        least = f"{todo.wall_s * per_s:.2f} to " if side_by_side else ""
        unknown = " and what is unknown" if todo.unknown else ""
        said.append(f"cost {least}{todo.seconds * per_s:.2f}{unknown}, saved {reused.seconds * per_s:.2f}")
    return said
