"""When each stage of a run was made, and how long it took: what this run built filled, what it reused hollow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pgolf.report.amounts import span
from pgolf.report.markup import Markup, void
from pgolf.report.plot import Plot, Scale, fitting

# Idle stretches longer than this share of the working time, and than so many seconds, are drawn as that share of it.
_IDLE_SHARE, _IDLE_S, _DRAWN_SHARE = 0.1, 5.0, 0.04
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_STAGES = (
    "fetch",
    "tokenize",
    "shards",
    "train",
    "import",
    "calibrate",
    "compress",
    "score",
    "count",
    "hint",
    "mix",
    "audit",
)


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage. started_s: since the epoch; wall_s: None where no row says how long it took."""

    node: str
    stage: str
    built: bool
    started_s: float
    wall_s: float | None


def working_s(stages: Sequence[StageTime]) -> float:
    """Seconds in which at least one of them was being made."""
    return sum(end - start for start, end in _busy(stages))


def gantt(stages: Sequence[StageTime]) -> Markup:
    """The figure."""
    ordered = sorted(stages, key=lambda stage: (stage.started_s, stage.node))
    busy = _busy(ordered)
    total = sum(end - start for start, end in busy) or 1.0
    idle, short = max(_IDLE_S, _IDLE_SHARE * total), _DRAWN_SHARE * total
    starts: list[tuple[float, float, float]] = []  # a stretch of time, and where it is drawn, in seconds
    cuts: list[tuple[float, float]] = []
    drawn = 0.0
    for number, (start, end) in enumerate(busy):
        if number:
            pause = start - busy[number - 1][1]
            if pause > idle:
                cuts.append((drawn + short / 2, pause))
            drawn += short if pause > idle else pause
        starts.append((start, end, drawn))
        drawn += end - start
    row = 15.0
    longest = sorted((s for s in ordered if s.wall_s), key=lambda s: -(s.wall_s or 0))[:3]
    described = ", ".join(f"{s.node} {span(s.wall_s or 0.0)}" for s in longest)
    built = sum(stage.built for stage in ordered)
    plot = Plot(
        "Stages over time",
        f"{len(ordered)} stages, {built} built by this run and {len(ordered) - built} reused; longest: {described}.",
        height=24 + row * len(ordered) + 42,
        left=104,
        right=58,
        top=16 if cuts else 8,
    )
    x = Scale(0.0, drawn or 1.0, plot.left, plot.right)
    for seconds in _times(drawn):
        plot.add(void("line", class_="grid", x1=x(seconds), x2=x(seconds), y1=plot.top, y2=plot.bottom))
        plot.text(x(seconds), plot.bottom + 13, span(seconds), anchor="middle")
    plot.text((plot.left + plot.right) / 2, plot.bottom + 28, "time of making", anchor="middle", class_="axis")
    for at, pause in cuts:
        plot.line([(x(at), plot.top), (x(at), plot.bottom)], "gap")
        plot.text(x(at), plot.top - 5, f"{span(pause)} later", anchor="middle")
    for number, stage in enumerate(ordered):
        y = plot.top + 4 + row * number
        plot.text(plot.left - 6, y + 9, fitting(stage.node, 98), anchor="end", class_="name")
        begin = next(
            (at + stage.started_s - start for start, end, at in starts if start <= stage.started_s <= end), 0.0
        )
        length = x(begin + (stage.wall_s or 0.0)) - x(begin)
        colour = f"c{_STAGES.index(stage.stage) % 7 + 1}" if stage.stage in _STAGES else "c8"
        took = "time not recorded" if stage.wall_s is None else span(stage.wall_s)
        words = f"{stage.node}: {took}, {'built by this run' if stage.built else 'reused'}"
        plot.rect(x(begin), y, max(2.0, length), row - 5, f"{'bar' if stage.built else 'hollow'} {colour}", said=words)
        plot.text(x(begin) + max(2.0, length) + 4, y + 9, "?" if stage.wall_s is None else span(stage.wall_s))
    legend = [("c4", "built by this run"), ("ring c4", "reused: made by an earlier one")]
    return plot.figure("idle pauses are cut out" if cuts else None, legend)


def _times(longest_s: float) -> list[float]:
    """Round times up to the longest."""
    step_s = next(
        (step for step in _STEPS_S if longest_s / step <= 5), _STEPS_S[-1] * math.ceil(longest_s / 5 / _STEPS_S[-1])
    )
    return [step_s * k for k in range(int(longest_s / step_s) + 1)]


def _busy(stages: Sequence[StageTime]) -> list[tuple[float, float]]:
    """Stretches of time in which any stage was being made, in order."""
    found: list[tuple[float, float]] = []
    for start, end in sorted((s.started_s, s.started_s + (s.wall_s or 0.0)) for s in stages):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
