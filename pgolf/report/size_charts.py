"""Where the bytes of a packed model go, and the packings that were tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgolf.report.markup import Markup
from pgolf.report.plot import Plot, Scale, around, fitting, series_class

# What the smallest groups are called together.
REST = "all others"


@dataclass(frozen=True, slots=True)
class Share:
    """Bytes of one group. said: more about it."""

    label: str
    size_bytes: int
    said: str


def budget_bar(shares: Sequence[Share], budget_bytes: int | None, title: str) -> Markup:
    """One bar of all groups against the budget, and a bar for each."""
    total = sum(share.size_bytes for share in shares)
    row = 25.0
    extent = max(total, budget_bytes or 0)
    against = "" if budget_bytes is None else f" of {budget_bytes:,} allowed"
    listed = ", ".join(f"{share.label} {share.size_bytes:,}" for share in shares[:6])
    plot = Plot(
        title,
        f"{total:,} bytes{against}. Largest: {listed}.",
        height=58 + row * len(shares) + 6,
        left=4, right=4, top=14, bottom=4,
    )  # fmt: skip
    x = Scale(0.0, extent * 1.0, plot.left, plot.right)
    at = 0
    plot.text(plot.left, plot.top - 3, f"{total:,} bytes", class_="strong")
    for number, share in enumerate(shares):
        said = f"{share.label}: {share.size_bytes:,} bytes, {share.size_bytes / total:.1%}"
        plot.rect(x(at), plot.top + 2, x(at + share.size_bytes) - x(at), 18, f"bar {_colour(number, share)}", said=said)
        at += share.size_bytes
    if budget_bytes is not None:
        over = total > budget_bytes
        left = budget_bytes - total
        words = f"budget {budget_bytes:,} · {abs(left):,} {'over' if over else 'left'}"
        plot.text(plot.right, plot.top - 3, words, anchor="end", class_="bad" if over else None)
        if over:
            line = x(budget_bytes)
            plot.rect(line - 1, plot.top - 1, 2, 24, "limit")
        else:
            plot.rect(x(total), plot.top + 2, x(budget_bytes) - x(total), 18, "hollow c8")
    most = max(share.size_bytes for share in shares)
    length = Scale(0.0, most, 0.0, plot.right - plot.left - 150)
    for number, share in enumerate(shares):
        y = plot.top + 42 + row * number
        plot.text(plot.left, y, fitting(f"{share.label} · {share.said}", 390), class_="name")
        plot.rect(plot.left, y + 4, length(share.size_bytes), 8, f"bar {_colour(number, share)}")
        text = f"{share.size_bytes:,} B · {share.size_bytes / total:.1%}"
        plot.text(plot.left + length(share.size_bytes) + 5, y + 12, text)
    return plot.figure()


def _colour(number: int, share: Share) -> str:
    return "c8" if share.label == REST else series_class(number)


def attempts_chart(attempts: Sequence[Mapping[str, Any]], bpb_of: Mapping[int | None, float], title: str) -> Markup:
    """Total bytes of every packing in the order tried, by seed; the chosen ones with the loss that they have.

    bpb_of: seed -> bits per byte of the network as packed; of what was not chosen nobody has measured it.
    """
    seeds = list(dict.fromkeys(row["seed"] for row in attempts))
    budget = next((row["budget_bytes"] for row in attempts if row["budget_bytes"] is not None), None)
    chosen = [row for row in attempts if row["chosen"]]
    said = "; ".join(f"seed {row['seed']} chose attempt {row['attempt']} of {row['total_bytes']:,}" for row in chosen)
    plot = Plot(
        title, f"{len(attempts)} packings tried for {len(seeds)} seeds; {said or 'none chosen'}.", top=24, left=58
    )
    sizes = [row["total_bytes"] for row in attempts] + ([budget] if budget is not None else [])
    y = plot.y(*around(sizes, room=0.12))
    last = max(row["attempt"] for row in attempts)
    x = plot.x(-0.5, last + 0.5)
    plot.y_axis(y, "bytes, code included")
    whole = range(0, last + 1, max(1, -(-(last + 1) // 10)))
    for value in whole:
        plot.text(x(value), plot.bottom + 13, str(value + 1), anchor="middle")
    plot.text((plot.left + plot.right) / 2, plot.bottom + 28, "attempt", anchor="middle", class_="axis")
    if budget is not None:
        plot.line([(plot.left, y(budget)), (plot.right, y(budget))], "limit")
        plot.text(plot.left + 4, y(budget) - 4, f"budget {budget:,}", class_="bad")
    for number, seed in enumerate(seeds):
        mine = sorted((row for row in attempts if row["seed"] == seed), key=lambda row: int(row["attempt"]))
        shift = (number - (len(seeds) - 1) / 2) * min(5.0, 40.0 / len(seeds))
        points = [(x(row["attempt"]) + shift, y(row["total_bytes"])) for row in mine]
        plot.line(points, f"thin {series_class(number)}")
        for row, (px, py) in zip(mine, points):
            loss = f", {bpb_of[seed]:.4f} bits per byte" if row["chosen"] and seed in bpb_of else ""
            words = (
                f"seed {seed}, attempt {row['attempt'] + 1}: {row['total_bytes']:,} bytes, {row['rung']}, "
                f"{row['codec']} {row['level'] or ''}{loss}"
            )
            kind = "mark" if row["chosen"] else "open"
            plot.dot(px, py, f"{kind} {series_class(number)}", radius=4.5 if row["chosen"] else 3.0, said=words)
    legend = [
        (series_class(number), f"seed {seed}{f': {bpb_of[seed]:.4f} bpb' if seed in bpb_of else ''}")
        for number, seed in enumerate(seeds)
    ]
    return plot.figure("filled: the packing that became the artifact; its loss is in the legend, that of the others "
                       "was not measured", legend)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sized:
    """One packing. bpb: bits per byte of the network as packed; None where nobody measured it."""

    label: str
    colour: int
    total_bytes: int
    bpb: float | None


def size_and_loss(packings: Sequence[Sized], budget_bytes: int | None, title: str) -> Markup:
    """Size against loss: a dot per packing that was scored, a tick at the bottom for every other."""
    scored = [(packing, packing.bpb) for packing in packings if packing.bpb is not None]
    said = "; ".join(f"{packing.label} {packing.total_bytes:,} bytes at {bpb:.4f}" for packing, bpb in scored[:6])
    plot = Plot(title, f"{len(scored)} of {len(packings)} packings were scored: {said}.", top=24, left=50, right=20)
    sizes = [packing.total_bytes for packing in packings] + ([] if budget_bytes is None else [budget_bytes])
    x = plot.x(*around(sizes, room=0.1))
    y = plot.y(*around([bpb for _, bpb in scored], room=0.25))
    plot.x_axis(x, "bytes, code included", most=4)
    plot.y_axis(y, "network, bits per byte")
    if budget_bytes is not None:
        plot.line([(x(budget_bytes), plot.top), (x(budget_bytes), plot.bottom)], "limit")
        plot.text(x(budget_bytes) - 4, plot.top + 8, "budget", anchor="end", class_="bad")
    for packing in packings:
        if packing.bpb is None:
            at, colour = x(packing.total_bytes), series_class(packing.colour)
            plot.line([(at, plot.bottom), (at, plot.bottom - 9)], f"thin {colour}")
    for packing, bpb in scored:
        words = f"{packing.label}: {packing.total_bytes:,} bytes, {bpb:.4f} bits per byte"
        plot.dot(x(packing.total_bytes), y(bpb), f"mark {series_class(packing.colour)}", radius=4.0, said=words)
    legend = {packing.label: series_class(packing.colour) for packing, _ in scored}
    caption = "ticks at the bottom: packings that were tried and not scored" if len(scored) < len(packings) else None
    return plot.figure(caption, [(colour, label) for label, colour in legend.items()])
