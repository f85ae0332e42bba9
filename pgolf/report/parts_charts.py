"""Bits per byte of parts of the text: by place, by length, by kind; each with its share of the text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pgolf.report.amounts import spread
from pgolf.report.markup import Markup, join, tag, void
from pgolf.report.plot import Plot, Scale, around
from pgolf.stats.seeds import SeedSummary

# A part of less of the targets is too noisy to set the scale.
_LEAST_SHARE = 0.01
# Labels are turned, and so reach down by their length; a digit takes 7 of the 11 units of its height.
_TURN_DEGREES = 38.0
_DIGIT = 7.0


@dataclass(frozen=True, slots=True)
class PartResult:
    """One part over the seeds. bpb: None where its tokens stand for no text. shares: of all targets, bytes and bits."""

    label: str
    targets: int
    bytes: int
    bpb: SeedSummary | None
    nats: SeedSummary
    target_share: float
    bits_share: float


def by_place(title: str, axis: str, parts: Sequence[PartResult], caption: str) -> Markup:
    """Points in order of place with their spread over seeds, over bars of each part's share of the targets."""
    shown = [part for part in parts if part.bpb is not None]
    sizable = [part for part in shown if part.target_share >= _LEAST_SHARE] or shown
    best, worst = min(sizable, key=_mean), max(sizable, key=_mean)
    every = max(1, -(-len(shown) // 16))
    longest = max(len(part.label) for part in shown[::every])
    below = 34 + longest * _DIGIT * math.sin(math.radians(_TURN_DEGREES))
    plot = Plot(
        title,
        f"{len(shown)} parts by {axis}: lowest {_mean(best):.3f} bits per byte at {best.label}, highest "
        f"{_mean(worst):.3f} at {worst.label}.",
        height=188 + below,
        bottom=below,
        top=24,
    )
    y = plot.y(*around([v for part in sizable for v in _reach(part)], room=0.12))
    plot.y_axis(y, "bits per byte")
    step = (plot.right - plot.left) / len(shown)
    most = max(part.target_share for part in shown)
    share = Scale(0.0, most, 0.0, (plot.bottom - plot.top) * 0.4)
    for number, part in enumerate(shown):
        at = plot.left + (number + 0.5) * step
        height = share(part.target_share)
        plot.rect(at - 0.38 * step, plot.bottom - height, 0.76 * step, height, "share")
        if number % every == 0:
            turned = f"translate({at:.1f},{plot.bottom + 10:.1f}) rotate({-_TURN_DEGREES:g})"
            plot.add(tag("text", part.label, transform=turned, text_anchor="end"))
        low, high = _reach(part)
        said = f"{part.label}: {spread(part.bpb)} bits per byte, {part.target_share:.1%} of the targets"
        inside = min(max(_mean(part), y.low), y.high)
        if low < high and y.low <= inside <= y.high:
            ends = [y(min(max(v, y.low), y.high)) for v in (low, high)]
            plot.add(void("line", class_="whisker c1", x1=at, x2=at, y1=ends[0], y2=ends[1]))
        plot.dot(at, y(inside), "mark c1" if inside == _mean(part) else "open c1", said=said)
    plot.text((plot.left + plot.right) / 2, plot.height - 4, axis, anchor="middle", class_="axis")
    legend = [("c1", "bits per byte, ± std over seeds"), ("c8", f"share of the targets, at most {most:.0%}")]
    if len(sizable) < len(shown):
        legend.append(("ring c1", "beyond the scale"))
    return plot.figure(caption, legend, _numbers(parts, axis))


def by_kind(title: str, parts: Sequence[PartResult], caption: str) -> Markup:
    """Bars of each kind's share of all bits, with its bits per byte."""
    ordered = sorted(parts, key=lambda part: -part.bits_share)
    row = 27.0
    said = "; ".join(f"{part.label} {part.bits_share:.0%}" for part in ordered)
    plot = Plot(title, f"Share of all bits: {said}.", height=18 + row * len(ordered), left=4, bottom=4, top=16, right=4)
    x = Scale(0.0, max(part.bits_share for part in ordered), 0.0, plot.right - plot.left - 168)
    for number, part in enumerate(ordered):
        y = plot.top + row * number
        plot.text(plot.left, y + 2, part.label, class_="name")
        width = x(part.bits_share)
        plot.rect(plot.left, y + 6, width, 11, "bar c1")
        bpb = "no bytes" if part.bpb is None else f"{part.bpb.mean:.3f} bpb"
        plot.text(plot.left + width + 5, y + 15.5, f"{part.bits_share:.1%} of the bits · {bpb}")
    return plot.figure(caption, numbers=_numbers(parts, "kind of token"))


def _mean(part: PartResult) -> float:
    assert part.bpb is not None
    return part.bpb.mean


def _reach(part: PartResult) -> tuple[float, float]:
    assert part.bpb is not None
    std = part.bpb.std or 0.0
    return part.bpb.mean - std, part.bpb.mean + std


def _numbers(parts: Sequence[PartResult], what: str) -> Markup:
    """The numbers behind a figure, folded."""
    headings = (what, "targets", "bytes", "bits per byte", "nats per token", "share of bits")
    rows = [
        tag(
            "tr",
            tag("th", part.label, scope="row"),
            *(
                tag("td", text, class_="num")
                for text in (
                    f"{part.targets:,}", f"{part.bytes:,}", spread(part.bpb), spread(part.nats),
                    f"{part.bits_share:.2%}",
                )
            ),
        )
        for part in parts
    ]  # fmt: skip
    head = tag("tr", *(tag("th", text, scope="col", class_="num" if k else None) for k, text in enumerate(headings)))
    table = tag("table", tag("thead", head), tag("tbody", join(*rows)))
    box = tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=f"numbers by {what}")
    return tag("details", tag("summary", "the numbers"), box)
