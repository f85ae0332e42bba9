"""Speed of the grid against evaluating each point alone in NumPy.

The plain way takes one point after the other over all targets: first-hit order, estimate, mixture, floor, logarithm,
sum, as array operations in float64 (`pgolf.ngram.mix`). It is timed on a few points of the same grid, in turns with the
whole grid; both are given as token-points per second, targets × points / seconds.
"""

from collections.abc import Iterator
from os import sched_getaffinity

import numpy as np

from bench.timing import Line, Spread, arguments, paired_s, show
from pgolf.ngram import mix
from pgolf.ngram.config import CountConfig
from pgolf.ngram.grid import UNIT_RECORDS, Cell, Grid, Unit, cells_of
from pgolf.ngram.mix_config import MixConfig

TARGETS = 1_000_000
POINTS = 1000
PLAIN_POINTS = 8
ORDERS = (2, 3, 4, 5, 6, 7)
# What share of targets has a context of that order: about that of web text after a few million tokens.
SEEN = (1.0, 0.97, 0.8, 0.55, 0.35, 0.22)
COUNTS = {"hashed": CountConfig(orders=ORDERS)}
GRIDS = {
    "backoff, order 7": MixConfig(mixers=("backoff",), orders=(7,), alphas=tuple(np.linspace(0, 1, POINTS).tolist())),
    "alpha x order": MixConfig(mixers=("fixed",), alphas=tuple(np.linspace(0, 1, POINTS // len(ORDERS)).tolist())),
    "adaptive": MixConfig(
        mixers=("adaptive",),
        orders=(7,),
        entropy_bases=tuple(np.linspace(0, 0.4, POINTS // 10).tolist()),
        entropy_ranges=tuple(np.linspace(0.1, 0.55, 10).tolist()),
    ),
}


def records(seed: int = 1) -> Unit:
    """Loss and entropy of a made-up network, and counts that thin out with the order."""
    rng = np.random.default_rng(seed)
    context = [(rng.random(TARGETS) < seen) * (2 + rng.geometric(0.2, TARGETS)) for seen in SEEN]
    full = [rng.binomial(c, 0.5) for c in context]
    return Unit(
        rng.exponential(2.5, TARGETS).astype(np.float32),
        rng.uniform(0, 6.9, TARGETS).astype(np.float32),
        {"hashed": [column.astype(np.uint32) for column in context + full]},
    )


def units_of(whole: Unit) -> Iterator[Unit]:
    """The records in the pieces that a stage hands out."""
    for first in range(0, TARGETS, UNIT_RECORDS):
        part = slice(first, first + UNIT_RECORDS)
        columns = {name: [column[part] for column in whole.counts[name]] for name in whole.counts}
        yield Unit(whole.loss_nats[part], whole.entropy_nats[part], columns)


def plain_loss(cell: Cell, whole: Unit) -> float:
    """One point by array operations."""
    row = ORDERS.index(cell.order or 0)
    rows = slice(row, row + 1) if cell.mixer == "fixed" else slice(0, row + 1)
    context = np.stack(whole.counts["hashed"][: len(ORDERS)][rows])
    full = np.stack(whole.counts["hashed"][len(ORDERS) :][rows])
    hit = mix.first_hit(context, cell.min_count or 0)
    places = np.arange(TARGETS)
    r_T = mix.estimate(context[hit, places], full[hit, places])
    alpha: mix.Alpha = cell.alpha or 0.0
    if cell.entropy_base is not None:
        alpha = mix.adaptive_alpha(
            whole.entropy_nats,
            base=cell.entropy_base,
            span=cell.entropy_range or 0.0,
            slope=cell.entropy_slope or 0.0,
            threshold_nats=cell.entropy_threshold_nats or 0.0,
        )
    return float(mix.legacy_loss(whole.loss_nats, alpha, r_T, hit >= 0).sum())


def measure(repeats: int) -> list[Line]:
    """Token-points per second, plain and ours, per kind of grid; compiling is not timed."""
    whole = records()
    threads = len(sched_getaffinity(0))
    lines = []
    for name, config in GRIDS.items():
        cells = cells_of(config, COUNTS)
        some = cells[1 :: (len(cells) - 1) // PLAIN_POINTS][:PLAIN_POINTS]
        grid = Grid(cells, COUNTS)
        totals = grid.run(units_of(whole), threads=threads)
        for cell in some:
            np.testing.assert_allclose(totals.loss_nats[cells.index(cell)], plain_loss(cell, whole), rtol=1e-12)
        plain_s, ours_s = paired_s(
            lambda some=some: [plain_loss(cell, whole) for cell in some],
            lambda grid=grid: grid.run(units_of(whole), threads=threads),
            repeats,
        )
        plain = [TARGETS * len(some) / s / 1e6 for s in plain_s]
        ours = [TARGETS * len(cells) / s / 1e6 for s in ours_s]
        lines += [
            Line(f"{name}: {len(cells):,} points", "s", Spread.of(ours_s), "<= 10"),
            Line(f"{name}: speed", "M token-points/s", Spread.of(ours), ">= 100"),
            Line(f"{name}: over plain", "times", Spread.of([b / a for a, b in zip(plain, ours, strict=True)])),
        ]
    return lines


if __name__ == "__main__":
    options = arguments(__doc__, repeats=3)
    show(f"mixture grid, {TARGETS:,} targets, all cores", measure(options.repeats), as_json=options.json)
