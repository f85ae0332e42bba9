"""Speed of the grid against evaluating each point alone in NumPy.

The plain way takes one point after the other over all targets: first-hit order, estimate, mixture, floor, logarithm,
sum, as array operations in float64 (`pgolf.ngram.mix`). It is timed on a few points of the same grid, in turns with the
whole grid; both are given as token-points per second, targets × points / seconds.
"""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from os import sched_getaffinity

import numpy as np

from bench.report import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s, ratios
from pgolf.ngram import mix
from pgolf.ngram.config import CountConfig
from pgolf.ngram.cells import Cell, cells_of
from pgolf.ngram.grid import UNIT_RECORDS, Grid, Totals, Unit
from pgolf.ngram.mix_config import MixConfig

PLAIN_POINTS = 8
ORDERS = (2, 3, 4, 5, 6, 7)
# What share of targets has a context of that order: about that of web text after a few million tokens.
SEEN = (1.0, 0.97, 0.8, 0.55, 0.35, 0.22)
COUNTS = {"hashed": CountConfig(orders=ORDERS)}


def grids(points: int) -> Mapping[str, MixConfig]:
    """Three kinds of grid, of about that many points each."""
    return {
        "backoff, order 7": MixConfig(mixers=("backoff",), orders=(7,), alphas=_steps(0, 1, points)),
        "alpha x order": MixConfig(mixers=("fixed",), alphas=_steps(0, 1, points // len(ORDERS))),
        "adaptive": MixConfig(
            mixers=("adaptive",),
            orders=(7,),
            entropy_bases=_steps(0, 0.4, points // 10),
            entropy_ranges=_steps(0.1, 0.55, 10),
        ),
    }


def _steps(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(np.linspace(first, last, count).tolist())


def records(targets: int, seed: int = 1) -> Unit:
    """Loss and entropy of a made-up network, and counts that thin out with the order."""
    rng = np.random.default_rng(seed)
    context = [(rng.random(targets) < seen) * (2 + rng.geometric(0.2, targets)) for seen in SEEN]
    full = [rng.binomial(c, 0.5) for c in context]
    return Unit(
        rng.exponential(2.5, targets).astype(np.float32),
        rng.uniform(0, 6.9, targets).astype(np.float32),
        {"hashed": [column.astype(np.uint32) for column in context + full]},
    )


def units_of(whole: Unit) -> Iterator[Unit]:
    """The records in the pieces that a stage hands out."""
    for first in range(0, len(whole.loss_nats), UNIT_RECORDS):
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
    places = np.arange(len(whole.loss_nats))
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


def plain_losses(cells: Sequence[Cell], whole: Unit) -> list[float]:
    """One point after the other."""
    return [plain_loss(cell, whole) for cell in cells]


def whole_grid(grid: Grid, whole: Unit, threads: int) -> Totals:
    """Every point at once, the records handed over in pieces."""
    return grid.run(units_of(whole), threads=threads)


def measure(targets: int, points: int, repeats: int) -> list[Line]:
    """Token-points per second, plain and ours, per kind of grid; compiling is not timed."""
    whole = records(targets)
    threads = len(sched_getaffinity(0))
    lines = []
    for name, config in grids(points).items():
        cells = cells_of(config, COUNTS)
        some = cells[1 :: max(1, (len(cells) - 1) // PLAIN_POINTS)][:PLAIN_POINTS]
        grid = Grid(cells, COUNTS)
        totals = whole_grid(grid, whole, threads)
        chosen = [cells.index(cell) for cell in some]
        np.testing.assert_allclose(totals.loss_nats[chosen], plain_losses(some, whole), rtol=1e-12)
        plain_s, ours_s = in_turns_s(
            [
                partial(plain_losses, some, whole),
                partial(whole_grid, grid, whole, threads),
            ],
            repeats,
        )
        plain = [targets * len(some) / s / 1e6 for s in plain_s]
        ours = [targets * len(cells) / s / 1e6 for s in ours_s]
        lines += [
            Line(f"{name}: {len(cells):,} points", "s", Spread.of(ours_s), "<= 10"),
            Line(f"{name}: speed", "M token-points/s", Spread.of(ours), ">= 100"),
            Line(f"{name}: over plain", "times", ratios(ours, plain)),
        ]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=3)
    parser.add_argument("--targets", type=int, default=1_000_000, help="records mixed (default: %(default)s)")
    parser.add_argument("--points", type=int, default=1000, help="points per grid (default: %(default)s)")
    options = parser.parse_args(argv)
    title = f"mixture grid, {options.targets:,} targets, all cores"
    lines = measure(options.targets, options.points, options.repeats)
    show(
        Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.grid", *argv]), lines), as_json=options.json
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
