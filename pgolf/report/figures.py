"""Draw the pictures of a grid with matplotlib: heat maps and curves, honest scores beside legacy ones.

Honest panels are coloured by the distance of a point from the network alone. Legacy panels are grey, with their own
scale and their mean total mass below, so that nobody takes their numbers for results. The bytes of a picture depend on
the score rows and the library's version alone: no drawing dates, no random names, only the library's own fonts.

Shapes: Y by X points of a map, masked where the grid has none.
"""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pgolf.report.families import Axis, Kind, Panel, Picture, Sketch, evenly, words
from pgolf.report.run_facts import RunFacts
from pgolf.stats.seeds import SeedSummary
from pgolf.tables.ranked import ScorerResult
from pgolf.tables.sheet import Value

# Maps with at most this many columns and rows show the numbers in the cells.
MAX_NUMBERED = 14
MAX_LINES = 8
MAX_TICKS = 14
# Bits per byte; scores closer than this look equal in a picture.
LEAST_GAIN = 1e-4

PANEL_TITLES: dict[Kind, str] = {
    "honest": "honest: {estimator}\n(normalized and causal)",
    "not causal": "NOT A SCORE: {estimator}\n(the network had learned this text before)",
    "legacy": "LEGACY, not a result: {estimator}\n(probabilities sum to the mass below, not to 1)",
}
SCORE = "bits per byte"
HONEST_COLOURS, OTHER_COLOURS, MASS_COLOURS = "PuOr_r", "Greys_r", "cividis"
NETWORK_COLOUR = "#0072b2"
MARKERS = "osD^vPX*"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "pgolf",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "figure.titlesize": 11.0,
    "figure.dpi": 110,
}
CAPTION_POINTS = 8.0
CAPTION_SPACING = 1.35

FloatMap = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture as files: the name without suffix, and the bytes by suffix."""

    name: str
    files: dict[str, bytes]


def draw(sketch: Sketch, facts: RunFacts) -> Drawing:
    """The drawing of a sketch."""
    return Drawing(sketch.name, _render(sketch.picture, facts, {"map": paint_map, "curves": paint_curves}[sketch.form]))


@contextmanager
def _house_style() -> Iterator[None]:
    """Use the library's defaults and STYLE, ignoring the user's settings, which are restored afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


Paint = Callable[[Picture, RunFacts, "Board"], list[str]]


def _render(picture: Picture, facts: RunFacts, paint: Paint) -> dict[str, bytes]:
    with _house_style():
        board = Board.of(picture, legend_in=1.4 if paint is paint_curves else 0.0)
        notes = paint(picture, facts, board)
        board.write(_title(picture), facts.line(), [*notes, *notes_of(picture, facts)])
        # One layout for both files. Printed by the canvases directly: savefig would draw each picture twice.
        raster: Any = FigureCanvasAgg(board.figure)
        if (engine := board.figure.get_layout_engine()) is not None:
            engine.execute(board.figure)
        board.figure.set_layout_engine("none")
        svg, png = BytesIO(), BytesIO()
        raster.print_png(png, metadata={"Software": None})
        vector: Any = FigureCanvasSVG(board.figure)
        vector.print_svg(svg, metadata={"Date": None, "Creator": None})
        return {"svg": svg.getvalue(), "png": png.getvalue()}


@dataclass(frozen=True, slots=True)
class Board:
    """A figure with a score panel per family, a mass panel below each legacy one, and a caption.

    heights_in: heights of the grid's rows; the caption is in the last one. caption_width_in, title_width_in: width
    available for their lines.
    """

    figure: Figure
    grid: GridSpec
    scores: tuple[Axes, ...]
    masses: dict[int, Axes]
    caption: Axes
    heights_in: tuple[float, ...]
    caption_width_in: float
    title_width_in: float

    @classmethod
    def of(cls, picture: Picture, *, legend_in: float) -> "Board":
        """An empty board for a picture, sized by its number of points. legend_in: width reserved for a legend."""
        columns = len(picture.panels)
        legacy = [number for number, panel in enumerate(picture.panels) if panel.kind == "legacy"]
        width_in = min(max(0.62 * len(picture.x.values) + 1.6, 5.2), 7.2)
        rows = 1 if picture.y is None else len(picture.y.values)
        height_in = min(max(0.42 * rows + 1.3, 3.2), 4.4)
        free = [number for number in range(columns) if number not in legacy]
        # The caption goes beside the mass panels if there is room, else below everything.
        beside = bool(legacy and free)
        heights_in = (height_in,) * (2 if legacy else 1) + (() if beside else (0.0,))
        figure = Figure(figsize=(columns * width_in + legend_in, 1.0), layout="constrained")
        grid = figure.add_gridspec(len(heights_in), columns)
        scores = tuple(figure.add_subplot(grid[0, number]) for number in range(columns))
        masses = {number: figure.add_subplot(grid[1, number]) for number in legacy}
        caption = figure.add_subplot(grid[1, free[0] : free[-1] + 1] if beside else grid[-1, :])
        caption.set_axis_off()
        caption_width_in = width_in * (len(free) if beside else columns) - 0.6
        return cls(figure, grid, scores, masses, caption, heights_in, caption_width_in, columns * width_in)

    def write(self, title: str, subtitle: str, notes: Sequence[str]) -> None:
        """Write title and caption (the notes), growing the figure to fit them."""
        letters = int(self.title_width_in * 10)
        lines = [*textwrap.wrap(title, letters), *textwrap.wrap(subtitle, letters)]
        self.figure.suptitle("\n".join(lines), x=0.01, ha="left")
        letters = max(40, int(self.caption_width_in * 72 / (0.56 * CAPTION_POINTS)))
        caption_lines = [line for note in notes for line in textwrap.wrap(note, letters, subsequent_indent="   ")]
        *above_in, last_in = self.heights_in
        needed_in = (len(caption_lines) + 1.5) * CAPTION_POINTS * CAPTION_SPACING / 72 + 0.1
        heights_in = [*above_in, max(last_in, needed_in)]
        self.figure.set_figheight(sum(heights_in) + 0.2 * len(lines) + 0.3)
        self.grid.set_height_ratios(heights_in)
        # Excluded from the layout, which would shrink the panels for it; its height is reserved above.
        self.caption.text(
            0.0, 0.97, "\n".join(caption_lines), fontsize=CAPTION_POINTS, va="top", linespacing=CAPTION_SPACING,
            transform=self.caption.transAxes,
        ).set_in_layout(False)  # fmt: skip


def _title(picture: Picture) -> str:
    chosen = ", ".join(f"{words(name)} {_text(value)}" for name, value in picture.chosen.items())
    over = words(picture.x.name) + (f" × {words(picture.y.name)}" if picture.y else "")
    return f"{picture.mixer} mixtures of network and n-gram counts over {over}{f' at {chosen}' if chosen else ''}"


def notes_of(picture: Picture, facts: RunFacts) -> list[str]:
    """Caption notes of both kinds of picture: the best honest point, what legacy means, spread, what is not shown."""
    notes = []
    lowest = []
    for panel in picture.panels:
        if panel.kind == "honest" and (best := _lowest(panel)) is not None:
            place, summary = best
            than = ""
            if facts.network_bpb is not None:
                gain = facts.network_bpb.mean - summary.mean
                than = f", {gain:.4f} below the network alone" if gain > 0 else ", not below the network alone"
            lowest.append(f"{panel.estimator} {_spread(summary)} bpb at {_at(picture, place)}{than}")
    of_these = " of this picture" if picture.combinations > 1 else ""
    if lowest:
        notes.append(
            f"★ lowest honest mean{of_these}: {'; '.join(lowest)}. Found by looking: to choose it now is to tune on "
            "the validation data; a result is a mixture declared before anything was scored."
        )
    if any(panel.kind == "legacy" for panel in picture.panels):
        notes.append(
            "Legacy: the published mixture hands out the mean total mass shown, not 1, over the vocabulary; no code "
            "has this length, however low the number."
        )
    if any(panel.kind == "not causal" for panel in picture.panels):
        notes.append("Not scores, the network alone included: it learned the text before it was scored on it.")
    if facts.network_bpb is not None:
        notes.append(f"Network alone: {_spread(facts.network_bpb)} bpb.")
    found = [result.summary("bpb") for panel in picture.panels for result in panel.points.values()]
    spreads = [summary.std for summary in found if summary is not None and summary.std is not None]
    if spreads:
        ends = dict.fromkeys(f"{spread:.4f}" for spread in (min(spreads), max(spreads)))
        notes.append(f"Points are means over {facts.n} seeds; their sample std is {' to '.join(ends)} bpb.")
    else:
        notes.append("One seed: how much the points vary from training to training is not known.")
    if facts.over_budget:
        notes.append(f"Over the byte budget, so nothing here can be ranked: seed {facts.over_budget}.")
    if facts.interrupted:
        notes.append(
            "A training that stops by the clock was killed and went on, so nothing here can be ranked: seed "
            f"{facts.interrupted}."
        )
    if facts.unverified:
        notes.append(
            "Nobody has verified that the bytes counted are those of the text, so nothing here can be ranked: seed "
            f"{facts.unverified}."
        )
    settings = [f"{words(name)} {_text(value)}" for name, value in picture.fixed.items() if name != "counts"]
    if settings:
        notes.append(f"All points: {', '.join(settings)}.")
    if picture.drawn < picture.combinations:
        names = ", ".join(words(name) for name in picture.chosen)
        notes.append(f"{picture.drawn} of {picture.combinations} combinations of {names} are drawn, evenly spread.")
    notes.append(f"Drawn from run {facts.run_key}.")
    return notes


# --- maps


def paint_map(picture: Picture, facts: RunFacts, board: Board) -> list[str]:
    """Fill a board with heat maps."""
    assert picture.y is not None
    clipped = 0
    for number, (axes, panel) in enumerate(zip(board.scores, picture.panels)):
        scores_YX = _map_of(picture, panel, "bpb")
        network = facts.network_bpb.mean if facts.network_bpb is not None else None
        norm, colours, above = _colours_of_scores(scores_YX, network, honest=panel.kind == "honest")
        clipped += above
        label = SCORE if panel.kind == "honest" else f"{panel.kind} {SCORE}: no code length"
        _heat(board.figure, axes, scores_YX, norm, colours, label, ".3f", extend=above > 0, network=network)
        _frame(axes, picture, _panel_title(panel))
        if panel.kind == "honest" and (best := _lowest(panel)) is not None:
            column, row = picture.x.values.index(best[0][0]), picture.y.values.index(best[0][1])
            _star(axes, column, row, numbered=_numbered(scores_YX))
        if number in board.masses:
            mass_YX = _map_of(picture, panel, "mass_mean")
            mass_axes = board.masses[number]
            if np.ma.count(mass_YX) == 0:
                mass_axes.text(0.5, 0.5, "mean mass not measured", ha="center", transform=mass_axes.transAxes)
            else:
                norm = _colours_of_mass(mass_YX)
                _heat(
                    board.figure, mass_axes, mass_YX, norm, matplotlib.colormaps[MASS_COLOURS], "mean total mass", ".3g"
                )
            _frame(mass_axes, picture, "mean total mass of the legacy points (a distribution: 1)")
    notes = []
    if any(panel.kind == "honest" for panel in picture.panels) and facts.network_bpb is not None:
        notes.append("Honest colours: purple is below the network alone (blue line on the scale), orange above it.")
    if any(np.ma.is_masked(_map_of(picture, panel, "bpb")) for panel in picture.panels):
        notes.append("Hatched: the grid has no such point.")
    if clipped:
        notes.append(f"Colour scales end where the arrow is: {clipped} points lie above.")
    return notes


def _map_of(picture: Picture, panel: Panel, column: str) -> "np.ma.MaskedArray[Any, np.dtype[np.float64]]":
    """Means over seeds, [Y, X], masked where the grid has no point or a seed has no value."""
    assert picture.y is not None
    means_YX = np.full((len(picture.y.values), len(picture.x.values)), np.nan)
    columns = {value: place for place, value in enumerate(picture.x.values)}
    rows = {value: place for place, value in enumerate(picture.y.values)}
    for (x, y), result in panel.points.items():
        if (summary := result.summary(column)) is not None and x in columns and y in rows:
            means_YX[rows[y], columns[x]] = summary.mean
    return np.ma.masked_invalid(means_YX)


def _colours_of_scores(scores_YX: FloatMap, network: float | None, *, honest: bool) -> tuple[Normalize, Colormap, int]:
    """Norm and colour map of a score map, and how many points lie above the scale's end.

    Weights near 1 give scores so high that everything else would get one colour, so the scale is cut: for honest maps,
    as far above the network as the lowest point is below it, with equally strong colours on both sides; otherwise at
    the network.
    """
    values = np.ma.compressed(scores_YX)
    low = float(values.min())
    gain = 0.0 if network is None else network - low
    if network is None or gain < LEAST_GAIN:
        high = max(_end_of_scale(values, low), low + LEAST_GAIN)
    else:
        high = min(float(values.max()), network + gain) if honest else network
    # Slightly beyond the network, so that its mark is within the scale.
    high = max(high, low + LEAST_GAIN, low if network is None else network + 0.02 * abs(gain))
    colours = matplotlib.colormaps[HONEST_COLOURS if honest and network is not None else OTHER_COLOURS]
    if honest and network is not None:
        low = min(low, network)
        reach = max(network - low, high - network)
        shades = np.linspace(0.5 + (low - network) / (2 * reach), 0.5 + (high - network) / (2 * reach), 256)
        colours = ListedColormap(colours(shades))
    return Normalize(low, high), colours, int((values > high).sum())


def _end_of_scale(values: FloatMap, least: float) -> float:
    """The maximum or, if it would flatten all others, the minimum plus four times the median distance from it."""
    middle = float(np.median(values)) - least
    greatest = float(values.max())
    return greatest if greatest - least <= 8 * middle else least + 4 * middle + LEAST_GAIN


def _colours_of_mass(mass_YX: FloatMap) -> Normalize:
    values = np.ma.compressed(mass_YX)
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > 3 * low:
        return LogNorm(low, high)
    return Normalize(min(low, 1.0), max(high, 1.01))


def _heat(
    figure: Figure,
    axes: Axes,
    values_YX: FloatMap,
    norm: Normalize,
    colour_map: Colormap,
    label: str,
    spec: str,
    *,
    extend: bool = False,
    network: float | None = None,
) -> None:
    """Draw a map with its colour bar, numbers in the cells if they fit, and the network's mark on the bar."""
    axes.set_facecolor("white")
    axes.patch.set_hatch("///")  # no point of the grid
    axes.patch.set_edgecolor("#bbbbbb")
    image = axes.imshow(values_YX, cmap=colour_map, norm=norm, origin="lower", aspect="auto", interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, label=label, extend="max" if extend else "neither", pad=0.02)
    if isinstance(norm, LogNorm):
        bar.locator = LogLocator(subs=(1.0, 2.0, 5.0))
        bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
        bar.minorlocator = NullLocator()
        bar.update_ticks()
    if network is not None and norm.vmin is not None and norm.vmax is not None and norm.vmin <= network <= norm.vmax:
        bar.ax.axhline(network, color=NETWORK_COLOUR, linewidth=2)
    if not _numbered(values_YX):
        return
    for row, column in zip(*np.nonzero(~np.ma.getmaskarray(values_YX))):
        value = float(values_YX[row, column])
        red, green, blue, _ = colour_map(float(np.clip(norm(value), 0, 1)))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        colour = "white" if dark else "black"
        # It fits in its cell, so the layout need not measure it.
        axes.text(column, row, f"{value:{spec}}", ha="center", va="center", fontsize=7.5, color=colour).set_in_layout(
            False
        )


def _numbered(values_YX: FloatMap) -> bool:
    return bool(max(values_YX.shape) <= MAX_NUMBERED)


def _star(axes: Axes, column: int, row: int, *, numbered: bool) -> None:
    """Mark a point of a map, in the cell's corner if its centre has a number."""
    place = (column - 0.33, row + 0.3) if numbered else (column, row)
    axes.plot(*place, marker="*", markersize=11, color="#ffd700", markeredgecolor="black", markeredgewidth=0.8)


def _frame(axes: Axes, picture: Picture, title: str) -> None:
    """Ticks at the grid's own values."""
    assert picture.y is not None
    for axis, values in ((axes.xaxis, picture.x), (axes.yaxis, picture.y)):
        places = _tick_places(len(values.values))
        axis.set_major_locator(FixedLocator(places))
        axis.set_major_formatter(_names_of(values, places))
        axis.set_label_text(values.label)
    axes.set_title(title)


def _tick_places(count: int) -> list[int]:
    """Every position or, if labels would overlap, every k-th one; k is 1, 2 or 5 times a power of ten."""
    if count <= MAX_TICKS:
        return list(range(count))
    steps = (factor * 10**power for power in range(12) for factor in (1, 2, 5))
    return list(range(0, count, next(step for step in steps if count <= step * MAX_TICKS)))


def _names_of(axis: Axis, places: Sequence[int]) -> FuncFormatter:
    names = {place: _text(axis.values[place]) for place in places}
    return FuncFormatter(lambda place, _: names.get(round(place), ""))


# --- curves


def paint_curves(picture: Picture, facts: RunFacts, board: Board) -> list[str]:
    """Fill a board with curves over x, one per value of y: means, bands of one std, each seed as a thin line."""
    lines = _lines(picture)
    palette = matplotlib.colormaps["viridis"](np.linspace(0, 0.88, len(lines))) if len(lines) > 1 else ["#333333"]
    cut = 0
    for number, (axes, panel) in enumerate(zip(board.scores, picture.panels)):
        drawn: list[tuple[float, float]] = []
        for value, colour, marker in zip(lines, palette, MARKERS):
            drawn += _line(axes, picture, panel, value, "bpb", colour, marker)
        network = facts.network_bpb
        if network is not None:
            axes.axhline(network.mean, color=NETWORK_COLOUR, linestyle="--", linewidth=1.4, label="network alone")
            if network.std is not None:
                axes.axhspan(network.mean - network.std, network.mean + network.std, color=NETWORK_COLOUR, alpha=0.15)
        cut += _limit(axes, drawn, network)
        axes.set_ylabel(SCORE if panel.kind == "honest" else f"{panel.kind} {SCORE}: no code length")
        if panel.kind != "honest":
            axes.set_facecolor("#e8e8e8")
        _over(axes, picture.x)
        axes.set_title(_panel_title(panel))
        _second_axis(axes, facts)
        if panel.kind == "honest" and (best := _lowest(panel)) is not None:
            (x, _), summary = best
            axes.plot(
                _coordinates(picture.x)[x],
                summary.mean,
                marker="*",
                markersize=14,
                color="#ffd700",
                markeredgecolor="black",
                zorder=5,
                linestyle="none",
            )
        if number in board.masses:
            below = board.masses[number]
            masses: list[tuple[float, float]] = []
            for value, colour, marker in zip(lines, palette, MARKERS):
                masses += _line(below, picture, panel, value, "mass_mean", colour, marker)
            below.axhline(1.0, color="black", linewidth=1, linestyle=":")
            if masses and min(masses)[0] > 0 and max(masses)[0] > 10:
                below.set_yscale("log")
                below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            below.set_ylabel("mean total mass")
            below.set_facecolor("#e8e8e8")
            _over(below, picture.x)
            below.set_title("mean total mass of the legacy points (a distribution: 1, dotted)")
    handles, labels = board.scores[0].get_legend_handles_labels()
    title = "" if picture.y is None else picture.y.label
    board.figure.legend(handles, labels, title=title, loc="outside right upper", frameon=False)
    notes = ["Bands: ± one sample std over the seeds; thin lines: the seeds themselves."] if facts.n > 1 else []
    if cut:
        notes.append(f"{cut} points lie above the upper end of an axis.")
    if picture.y is not None and len(lines) < len(picture.y.values):
        notes.append(
            f"{len(lines)} of {len(picture.y.values)} values of {words(picture.y.name)} are drawn, evenly spread."
        )
    return notes


def _lines(picture: Picture) -> list[Value]:
    """The values of y to draw: those of the lowest honest points, and others evenly spread."""
    if picture.y is None:
        return [None]
    values = picture.y.values
    lines = evenly(values, MAX_LINES)
    for panel in picture.panels:
        if panel.kind == "honest" and (best := _lowest(panel)) is not None and best[0][1] not in lines:
            place = values.index(best[0][1])
            lines[min(range(len(lines)), key=lambda k: abs(values.index(lines[k]) - place))] = best[0][1]
    return lines


def _line(
    axes: Axes, picture: Picture, panel: Panel, y: Value, column: str, colour: Any, marker: str
) -> list[tuple[float, float]]:
    """Draw a curve; returns the mean and std of its points."""
    found = [(x, panel.points[x, y]) for x in picture.x.values if (x, y) in panel.points]
    found = [(x, result) for x, result in found if result.summary(column) is not None]
    if not found:
        return []
    place_of = _coordinates(picture.x)
    places = [place_of[x] for x, _ in found]
    summaries = [result.summary(column) for _, result in found]
    means = [summary.mean for summary in summaries if summary is not None]
    few = len(places) <= 40
    label = None if picture.y is None else _text(y)
    axes.plot(
        places, means, color=colour, linewidth=1.6, marker=marker if few else "", markersize=4,
        label=label or "mixture",
    )  # fmt: skip
    stds = [summary.std or 0.0 for summary in summaries if summary is not None]
    several = picture.y is not None and len(picture.y.values) > 3
    low, high = np.subtract(means, stds), np.add(means, stds)
    axes.fill_between(places, low, high, color=colour, alpha=0.1 if several else 0.2, linewidth=0)
    if len(seeds := sorted({seed for _, result in found for seed in result.by_seed})) > 1:
        for seed in seeds:
            values = [_of_seed(result, seed, column) for _, result in found]
            axes.plot(places, values, color=colour, linewidth=0.5, alpha=0.7)
    return list(zip(means, stds))


def _of_seed(result: ScorerResult, seed: int, column: str) -> float:
    row = result.by_seed.get(seed)
    return math.nan if row is None or row[column] is None else float(row[column])


def _coordinates(axis: Axis) -> dict[Value, float]:
    """Coordinate of each value on a curve's axis: numbers as they are, otherwise their index."""
    numbers = _all_numbers(axis)
    return {
        value: float(value) if numbers and isinstance(value, int | float) else float(place)
        for place, value in enumerate(axis.values)
    }


def _all_numbers(axis: Axis) -> bool:
    return all(isinstance(value, int | float) for value in axis.values)


def _over(axes: Axes, axis: Axis) -> None:
    """Set up the x axis: linear, logarithmic if values span a factor of 100, names if they are not numbers."""
    axes.set_xlabel(axis.label)
    if not _all_numbers(axis):
        places = _tick_places(len(axis.values))
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_major_formatter(_names_of(axis, places))
        return
    numbers = [float(value) for value in axis.values if isinstance(value, int | float)]
    if numbers[0] > 0 and len(numbers) > 3 and numbers[-1] >= 100 * numbers[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif all(number.is_integer() for number in numbers):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _limit(axes: Axes, drawn: Sequence[tuple[float, float]], network: SeedSummary | None) -> int:
    """Cut the score axis before outliers that would flatten all other points; returns how many lie above."""
    if not drawn:
        return 0
    means, stds = np.array([mean for mean, _ in drawn]), np.array([std for _, std in drawn])
    low, high = float((means - stds).min()), _end_of_scale(means, float(means.min())) + float(stds.max())
    if network is not None:
        spread = network.std or 0.0
        low, high = min(low, network.mean - spread), max(high, network.mean + spread)
    room = 0.06 * max(high - low, 1e-3)
    axes.set_ylim(low - room, high + room)
    return int((means > high + room).sum())


def _second_axis(axes: Axes, facts: RunFacts) -> None:
    """Add an axis in nats per token on the right."""
    ratio = facts.nats_per_token_per_bpb
    if ratio is not None:
        second = axes.secondary_yaxis("right", functions=(_times(ratio), _times(1 / ratio)))
        second.set_ylabel("nats per token")


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda values: np.asarray(values) * factor


# --- words


def _panel_title(panel: Panel) -> str:
    return PANEL_TITLES[panel.kind].format(estimator=panel.estimator)


def _lowest(panel: Panel) -> tuple[tuple[Value, Value], SeedSummary] | None:
    """The point with the lowest mean, and its summary."""
    found = [(place, result.summary("bpb")) for place, result in panel.points.items()]
    summaries = [(place, summary) for place, summary in found if summary is not None]
    return min(summaries, key=lambda item: item[1].mean) if summaries else None


def _at(picture: Picture, place: tuple[Value, Value]) -> str:
    x = f"{words(picture.x.name)} {_text(place[0])}"
    return x if picture.y is None else f"{x}, {words(picture.y.name)} {_text(place[1])}"


def _spread(summary: SeedSummary) -> str:
    std = "" if summary.std is None else f" ± {summary.std:.4f}"
    return f"{summary.mean:.4f}{std} (n = {summary.n})"


def _text(value: Value) -> str:
    """A setting's value, shortened."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:11]}…{text[-12:]}"
