"""The grid of mixtures: honest scores as distances from the network alone, legacy ones in grey beside their total mass.

The pictures that `pgolf.report.figures` draws for print (`pgolf.report.families`), as small SVG for a page. A map of
many cells is one image of a pixel each, not a box of markup each.
"""

import base64
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

from pgolf.report.amounts import spread
from pgolf.report.families import Axis, Panel, Picture, words
from pgolf.report.markup import Markup, tag, void
from pgolf.report.plot import Plot, around, fitting, series_class
from pgolf.report.run_facts import RunFacts
from pgolf.tables.ranked import ScorerResult
from pgolf.tables.sheet import Value

# More cells than this are drawn as an image.
MOST_BOXES = 420
_NUMBERED_COLUMNS = 7
_LEAST_GAIN = 1e-4
_MOST_LINES = 7

Rgb = tuple[int, int, int]
Place = tuple[Value, Value]
# Worse than the network alone … as good … better; readable for all kinds of colour vision.
_WORSE, _EVEN, _BETTER = (178, 88, 6), (247, 247, 247), (49, 54, 149)
_PALE, _GREY = (242, 242, 242), (90, 90, 90)
_LITTLE, _MUCH = (255, 247, 214), (120, 28, 109)


def grid_figures(pictures: Sequence[Picture], facts: RunFacts) -> list[list[Markup]]:
    """The figures of every picture; what belongs together stands together."""
    curves = [_curves(picture, facts) for picture in pictures if picture.y is None]
    maps = [_maps(picture, picture.y, facts) for picture in pictures if picture.y is not None]
    return [group for group in (*maps, curves) if group]


def _maps(picture: Picture, y: Axis, facts: RunFacts) -> list[Markup]:
    found = []
    for panel in picture.panels:
        if not _means(panel, "bpb"):
            continue
        found.append(_score_map(picture, y, panel, facts))
        if panel.kind == "legacy" and _means(panel, "mass_mean"):
            found.append(_mass_map(picture, y, panel))
    return found


def _distance(gain: float) -> str:
    return f"{abs(gain):.4f} {'below' if gain >= 0 else 'above'}"


def _score_map(picture: Picture, y: Axis, panel: Panel, facts: RunFacts) -> Markup:
    means = _means(panel, "bpb")
    network = None if facts.network_bpb is None else facts.network_bpb.mean
    place, best = min(means.items(), key=lambda item: item[1])
    where = _at(picture, place)
    if panel.kind == "honest":
        base = network if network is not None else max(means.values())
        reach = max(_LEAST_GAIN, *(abs(value - base) for value in means.values()))

        def colour(value: float) -> Rgb:
            share = (base - value) / reach
            return _between(_EVEN, _BETTER if share > 0 else _WORSE, abs(share))

        title = f"Honest: {_title(picture, panel)}"
        than = "" if network is None else f", {_distance(network - best)} the network alone"
        caption = (
            f"lowest mean {spread(panel.points[place].summary('bpb'))} bits per byte at {where}{than}. Found by "
            "looking: to choose it now is to tune on the validation text. Blue is better than the network alone, brown "
            "worse."
        )
    else:
        low, high = min(means.values()), max(means.values())

        def colour(value: float) -> Rgb:
            return _between(_GREY, _PALE, (value - low) / ((high - low) or 1.0))

        title = f"{_WORDS[panel.kind]}: {_title(picture, panel)}"
        caption = f"{_WARNINGS[panel.kind]}; numbers from {low:.4f} to {high:.4f} “bits per byte”, lowest at {where}"
    return _map(picture, y, panel, means, colour, title, caption, ".3f")


def _mass_map(picture: Picture, y: Axis, panel: Panel) -> Markup:
    means = _means(panel, "mass_mean")
    high = max(*means.values(), 1.0)

    def colour(value: float) -> Rgb:
        return _between(_LITTLE, _MUCH, max(0.0, value - 1.0) / ((high - 1.0) or 1.0))

    place, most = max(means.items(), key=lambda item: item[1])
    return _map(
        picture, y, panel, means, colour,
        f"Total mass: {_title(picture, panel)}",
        f"what the “probabilities” of the legacy map beside it sum to over the vocabulary, on average; 1 would be a "
        f"distribution. Most: {most:,.4g} at {_at(picture, place)}",
        ".3g",
    )  # fmt: skip


def _map(
    picture: Picture,
    y: Axis,
    panel: Panel,
    means: Mapping[Place, float],
    colour: Callable[[float], Rgb],
    title: str,
    caption: str,
    spec: str,
) -> Markup:
    columns, rows = len(picture.x.values), len(y.values)
    cell = min(24.0, max(2.0, 230.0 / rows))
    low, high = min(means.values()), max(means.values())
    plot = Plot(
        title,
        f"{len(means)} cells over {picture.x.label} and {y.label}, means from {low:{spec}} to {high:{spec}}.",
        height=16 + cell * rows + 38,
        left=54,
        right=4,
        top=16,
        bottom=38,
    )
    width = (plot.right - plot.left) / columns
    plot.text(2, 9, y.label, class_="axis")
    plot.text((plot.left + plot.right) / 2, plot.height - 6, picture.x.label, anchor="middle", class_="axis")
    if columns * rows > MOST_BOXES:
        pixels = [[colour(means[x, v]) if (x, v) in means else None for x in picture.x.values] for v in y.values]
        plot.add(
            void("image", x=plot.left, y=plot.top, width=plot.right - plot.left, height=cell * rows,
                 preserveAspectRatio="none", style="image-rendering:pixelated", href=_png(pixels))
        )  # fmt: skip
    else:
        for row, v in enumerate(y.values):
            for column, x in enumerate(picture.x.values):
                if (x, v) not in means:
                    continue
                at, mean = plot.left + column * width, means[x, v]
                fill = colour(mean)
                said = f"{_at(picture, (x, v))}: {mean:{spec}}"
                plot.rect(at, plot.top + row * cell, width - 0.6, cell - 0.6, said=said, fill=_hex(fill))
                if columns <= _NUMBERED_COLUMNS and cell >= 12:
                    ink = "#111" if sum(fill) > 380 else "#fff"
                    plot.add(
                        tag("text", f"{mean:{spec}}", x=at + width / 2, y=plot.top + row * cell + cell / 2 + 3.5,
                            text_anchor="middle", style=f"fill:{ink}", pointer_events="none")
                    )  # fmt: skip
    for row, value in _labelled(y.values, int(cell * rows / 11) or 1):
        middle = plot.top + (row + 0.5) * cell + 3.5
        plot.text(plot.left - 5, middle, fitting(_text(value), 46), anchor="end")
    for column, value in _labelled(picture.x.values, 9):
        middle = plot.left + (column + 0.5) * width
        plot.text(middle, plot.bottom + 12, fitting(_text(value), max(width * 1.4, 36)), anchor="middle")
    return plot.figure(caption)


def _curves(picture: Picture, facts: RunFacts) -> Markup:
    """One line per family over the one setting that varies."""
    lines = []
    for panel in picture.panels[:_MOST_LINES]:
        means = {place[0]: value for place, value in _means(panel, "bpb").items()}
        lines.append((panel, [(i, means[v]) for i, v in enumerate(picture.x.values) if v in means]))
    all_values = [value for _, points in lines for _, value in points]
    network = None if facts.network_bpb is None else facts.network_bpb.mean
    plot = Plot(
        f"{picture.mixer} over {words(picture.x.name)}",
        f"{len(lines)} families of mixtures over {len(picture.x.values)} values of {words(picture.x.name)}, means from "
        f"{min(all_values):.4f} to {max(all_values):.4f} bits per byte.",
        top=24,
    )
    y = plot.y(*around([*all_values, *([] if network is None else [network])]))
    x = plot.x(-0.4, len(picture.x.values) - 0.6)
    plot.y_axis(y, "bits per byte")
    for place, value in _labelled(picture.x.values, 8):
        plot.text(x(place), plot.bottom + 13, _text(value), anchor="middle")
    plot.text((plot.left + plot.right) / 2, plot.bottom + 28, picture.x.label, anchor="middle", class_="axis")
    if network is not None:
        plot.line([(plot.left, y(network)), (plot.right, y(network))], "gap")
        plot.text(plot.right, y(network) - 4, "network alone", anchor="end")
    legend = []
    for number, (panel, points) in enumerate(lines):
        colour = series_class(number) if panel.kind == "honest" else "c8"
        plot.line([(x(i), y(value)) for i, value in points], colour)
        for i, value in points:
            said = f"{panel.estimator}, {words(picture.x.name)} {_text(picture.x.values[i])}: {value:.4f}"
            plot.dot(x(i), y(value), f"{'mark' if panel.kind == 'honest' else 'open'} {colour}", said=said)
        legend.append((colour, f"{_WORDS[panel.kind].lower()}: {panel.estimator}"))
    return plot.figure(_fixed(picture), legend)


_WORDS = {"honest": "Honest", "legacy": "Legacy, not a result", "not causal": "Not a score"}
_WARNINGS = {
    "legacy": "legacy: these “probabilities” sum to the mass in the map beside it, so this is no code length",
    "not causal": "the network had learned this text before it was scored on it",
}


def _title(picture: Picture, panel: Panel) -> str:
    chosen = ", ".join(f"{words(name)} {_text(value)}" for name, value in picture.chosen.items())
    return f"{panel.estimator} {picture.mixer}{f' at {chosen}' if chosen else ''}"


def _fixed(picture: Picture) -> str:
    return ", ".join(f"{words(name)} {_text(value)}" for name, value in picture.fixed.items())


def _means(panel: Panel, column: str) -> dict[Place, float]:
    """Place -> mean over seeds, where every seed has a value."""
    found = {place: _mean(result, column) for place, result in panel.points.items()}
    return {place: mean for place, mean in found.items() if mean is not None}


def _mean(result: ScorerResult, column: str) -> float | None:
    summary = result.summary(column)
    return None if summary is None else summary.mean


def _at(picture: Picture, place: Place) -> str:
    said = f"{words(picture.x.name)} {_text(place[0])}"
    return said if picture.y is None else f"{said}, {words(picture.y.name)} {_text(place[1])}"


def _labelled(values: Sequence[Value], most: int) -> list[tuple[int, Value]]:
    every = max(1, -(-len(values) // most))
    return [(k, value) for k, value in enumerate(values) if k % every == 0]


def _text(value: Value) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _between(one: Rgb, other: Rgb, share: float) -> Rgb:
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other))
    return red, green, blue


def _hex(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _png(pixels: Sequence[Sequence[Rgb | None]]) -> str:
    """An image with a pixel per cell, transparent where there is none, as a data address."""
    rows = b"".join(b"\0" + b"".join(bytes((*p, 255)) if p else bytes(4) for p in row) for row in pixels)
    size = struct.pack(">IIBBBBB", len(pixels[0]), len(pixels), 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
