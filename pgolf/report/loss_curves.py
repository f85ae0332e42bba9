"""Loss of every step of several trainings, by step or by the training clock."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgolf.report.markup import Markup
from pgolf.report.plot import Plot, around, plain, series_class

# Means of so many stretches of steps are drawn; a line of every step would be a band of noise and megabytes.
STRETCHES = 160
# More bands than these are one grey area.
_MOST_BANDS = 4

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Training:
    """One training's steps in order. label: in the legend, once for all of one colour."""

    label: str
    colour: int
    step: Numbers
    clock_s: Numbers
    loss_nats: Numbers


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Means, least and greatest losses of stretches of steps."""

    at: Numbers
    mean: Numbers
    least: Numbers
    greatest: Numbers


def loss_curves(trainings: Sequence[Training], *, by: str) -> Markup:
    """The figure. by: step, or clock."""
    stretches = [_stretches(each, each.step if by == "step" else each.clock_s) for each in trainings]
    last = [f"{each.label} from {each.loss_nats[0]:.2f} to {each.loss_nats[-1]:.2f}" for each in trainings]
    what = "step" if by == "step" else "training clock"
    plot = Plot(f"Training loss by {what}", f"Mean loss in nats per token falls: {'; '.join(last)}.", top=24)
    x = plot.x(min(0.0, *(each.at[0] for each in stretches)), max(each.at[-1] for each in stretches))
    settled = [each.least[len(each.least) // 20 :].min() for each in stretches]
    y = plot.y(*around([*settled, *(_start(each) for each in stretches)]))
    plot.x_axis(x, "step" if by == "step" else "training clock (s)")
    plot.y_axis(y, "nats per token", show=plain)
    top, bottom = y.high, y.low
    for training, each in zip(trainings, stretches):
        inside = each.mean <= top
        lower, upper = (
            [(x(at), y(min(max(v, bottom), top))) for at, v in zip(each.at[inside], edge[inside])]
            for edge in (each.least, each.greatest)
        )
        if len(trainings) <= _MOST_BANDS:
            plot.band(lower, upper, series_class(training.colour))
    for training, each in zip(trainings, stretches):
        inside = each.mean <= top
        line = [(x(at), y(v)) for at, v in zip(each.at[inside], each.mean[inside])]
        plot.line(line, series_class(training.colour))
    steps = max(len(each.step) for each in trainings)
    how = (
        "the steps that were logged"
        if any(each.step[-1] > len(each.step) for each in trainings)
        else "every step"
        if steps <= STRETCHES
        else f"means of {STRETCHES} stretches of the steps; the band reaches from the least to the greatest of each"
    )
    above = "; the first steps lie above" if any(each.mean.max() > top for each in stretches) else ""
    said = f"{how}; the loss of a step is that of its own batch, before the step{above}"
    return plot.figure(said, _legend(trainings))


def _legend(trainings: Sequence[Training]) -> list[tuple[str, str]]:
    return [(series_class(colour), label) for label, colour in {each.label: each.colour for each in trainings}.items()]


def _start(stretch: _Stretch) -> float:
    """Where the axis begins: what the first twentieth falls from would squeeze all that matters to a line."""
    return float(stretch.mean[min(len(stretch.mean) - 1, len(stretch.mean) // 20)])


def _stretches(training: Training, at: Numbers) -> _Stretch:
    count = min(STRETCHES, len(at))
    edges = np.linspace(0, len(at), count + 1).astype(int)
    losses = training.loss_nats
    lengths = np.diff(edges)
    return _Stretch(
        at=np.add.reduceat(at, edges[:-1]) / lengths,
        mean=np.add.reduceat(losses, edges[:-1]) / lengths,
        least=np.minimum.reduceat(losses, edges[:-1]),
        greatest=np.maximum.reduceat(losses, edges[:-1]),
    )
