"""Speed of the grid engine, compared with evaluating each point separately in NumPy.

The plain implementation evaluates one point after the other over all targets: first-hit order, estimate, mixture,
floor, logarithm, sum, as float64 array operations (`tests/oracles/numpy_mixtures.py`). It is timed on a few points of
the same grid, in turns with the whole grid; both in token-points per second, targets × points / seconds.

A fixed-share mixture updates all its weights after every target. Its plain implementation computes each member's
probabilities as above and then loops over targets with one array operation over the members each, for the first targets
only; the grid also scores its members as points in the same pass. Token-points are targets × members.
"""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from os import sched_getaffinity

import numpy as np

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s, ratios
from pgolf.counts.config import CountConfig
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import cells_of
from pgolf.mix.config import MixConfig
from pgolf.mix.grid import UNIT_RECORDS, Grid, Hints, Unit
from pgolf.mix.product import Cell
from tests.oracles import numpy_mixtures as mix

PLAIN_POINTS = 8
PLAIN_SHARED_TARGETS = 20_000
ORDERS = (2, 3, 4, 5, 6, 7)
# Share of targets with a known context, by order: about that of web text after a few million tokens.
SEEN = (1.0, 0.97, 0.8, 0.55, 0.35, 0.22)
HINT_ORDERS = (7, 9, 13, 17)
HINT_SEEN = (0.2, 0.12, 0.06, 0.03)
COUNTS = {
    "hashed": CountConfig(orders=ORDERS),
    "exact": CountConfig(orders=ORDERS, estimator="exact"),
}
SHARE_RATE = 1e-3


def grids(points: int) -> Mapping[str, tuple[MixConfig, str]]:
    """Kinds of grid, each with about this many points, and its target in millions of token-points per second."""
    legacy, exact = {"estimators": ("hashed",)}, {"estimators": ("exact",)}
    return {
        "backoff, order 7": (
            MixConfig(mixers=("backoff",), orders=(7,), alphas=_steps(0, 1, points), **legacy),
            ">= 100",
        ),
        "alpha x order": (MixConfig(mixers=("fixed",), alphas=_steps(0, 1, points // len(ORDERS)), **legacy), ">= 100"),
        "adaptive": (
            MixConfig(
                mixers=("adaptive",),
                orders=(7,),
                entropy_bases=_steps(0, 0.4, points // 10),
                entropy_ranges=_steps(0.1, 0.55, 10),
                **legacy,
            ),
            ">= 100",
        ),
        "dirichlet, orders 2 to 7": (
            MixConfig(mixers=("dirichlet",), concentrations=_steps(0.1, 64, points // len(ORDERS)), **exact),
            ">= 20",
        ),
        "dirichlet, order 7 alone": (
            MixConfig(mixers=("dirichlet",), orders=(7,), concentrations=_steps(0.1, 64, points), **exact),
            ">= 20",
        ),
        "tilt, orders 7 to 17": (
            MixConfig(
                mixers=("tilt",), tilts=_steps(0, 8, points // 16), tilt_confidences=(0.5, 0.8), tilt_gammas=(0.0, 0.5)
            ),
            "",
        ),
    }


def _steps(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(np.linspace(first, last, max(count, 1)).tolist())


def records(targets: int, seed: int = 1) -> Unit:
    """Loss and entropy of a simulated network, counts that thin out with the order, and hints."""
    rng = np.random.default_rng(seed)
    context = [(rng.random(targets) < seen) * (2 + rng.geometric(0.2, targets)) for seen in SEEN]
    full = [rng.binomial(c, 0.5) for c in context]
    columns = [column.astype(np.uint32) for column in context + full]
    loss_nats = rng.exponential(2.5, targets).astype(np.float32)
    hint_context = [(rng.random(targets) < seen) * (1 + rng.geometric(0.5, targets)) for seen in HINT_SEEN]
    right = [rng.random(targets) < 0.6 for _ in HINT_ORDERS]
    hints = Hints(
        [column.astype(np.uint32) for column in hint_context],
        [rng.binomial(column, 0.9).astype(np.uint32) for column in hint_context],
        right,
        [np.where(hit, -loss_nats, -rng.exponential(2.5, targets)).astype(np.float32) for hit in right],
    )
    entropy_nats = rng.uniform(0, 6.9, targets).astype(np.float32)
    return Unit(loss_nats, entropy_nats, dict.fromkeys(COUNTS, columns), hints)


def units_of(whole: Unit) -> Iterator[Unit]:
    """The records in pieces, as a stage yields them."""
    for first in range(0, len(whole), UNIT_RECORDS):
        yield whole.part(slice(first, first + UNIT_RECORDS))


def plain_losses_of(cell: Cell, whole: Unit) -> np.ndarray:
    """Loss of every target at one point, with array operations."""
    if cell.estimator == "neural":
        return whole.loss_nats.astype(np.float64)
    if cell.estimator == "hint":
        return _plain_tilt(cell, whole)
    row = ORDERS.index(cell.order or 0)
    rows = slice(row, row + 1) if cell.mixer == "fixed" else slice(0, row + 1)
    context = np.stack(whole.counts["hashed"][: len(ORDERS)][rows])
    full = np.stack(whole.counts["hashed"][len(ORDERS) :][rows])
    if cell.concentration is not None:
        return mix.dirichlet_loss(whole.loss_nats, context, full, cell.concentration, legacy=False)
    hit = mix.first_hit(context, cell.min_count or 0)
    places = np.arange(len(whole))
    r_T = mix.estimate(context[hit, places], full[hit, places])
    alpha: float | np.ndarray = cell.alpha or 0.0
    if cell.entropy_base is not None:
        alpha = mix.adaptive_alpha(
            whole.entropy_nats,
            base=cell.entropy_base,
            span=cell.entropy_range or 0.0,
            slope=cell.entropy_slope or 0.0,
            threshold_nats=cell.entropy_threshold_nats or 0.0,
        )
    return mix.legacy_loss(whole.loss_nats, alpha, r_T, hit >= 0)


def _plain_tilt(cell: Cell, whole: Unit) -> np.ndarray:
    assert whole.hints is not None
    rows = slice(0, HINT_ORDERS.index(cell.order or 0) + 1)
    context, count = np.stack(whole.hints.context[rows]), np.stack(whole.hints.count[rows])
    hit = mix.confident_hit(context, count, min_count=cell.min_count or 0, confidence=cell.tilt_confidence or 0.0)
    places = np.arange(len(whole))
    return mix.tilted_loss(
        whole.loss_nats,
        np.stack(whole.hints.logp[rows])[hit, places],
        np.stack(whole.hints.is_target[rows])[hit, places],
        hit >= 0,
        tilt_nats=cell.tilt_nats or 0.0,
        gamma=cell.tilt_gamma or 0.0,
    )


def plain_losses(cells: Sequence[Cell], whole: Unit) -> list[float]:
    """Losses of all points, one after the other."""
    return [float(plain_losses_of(cell, whole).sum()) for cell in cells]


def plain_shared(members: Sequence[Cell], whole: Unit) -> float:
    """Loss of the fixed-share mixture, target by target."""
    p_TK = np.stack([np.exp(-plain_losses_of(cell, whole)) for cell in members], axis=1)
    weight_K = np.full(len(members), 1 / len(members))
    loss_nats = 0.0
    for p_K in p_TK:
        weight_K *= p_K
        mixed = weight_K.sum()
        loss_nats -= np.log(mixed)
        weight_K = weight_K * ((1 - SHARE_RATE) / mixed) + SHARE_RATE / len(members)
    return float(loss_nats)


def whole_grid(grid: Grid, whole: Unit, threads: int) -> None:
    """All points at once, with the records given in pieces."""
    grid.run(units_of(whole), threads=threads)


def measure(targets: int, points: int, repeats: int) -> list[Line]:
    """Token-points per second, plain and ours, per kind of grid; compilation is not timed."""
    whole = records(targets)
    threads = len(sched_getaffinity(0))
    lines = []
    for name, (config, target) in grids(points).items():
        cells = cells_of(config, COUNTS, HINT_ORDERS)
        some = cells[1 :: max(1, (len(cells) - 1) // PLAIN_POINTS)][:PLAIN_POINTS]
        grid = Grid(cells, COUNTS, hinted=HINT_ORDERS)
        totals = grid.run(units_of(whole), threads=threads)
        chosen = [cells.index(cell) for cell in some]
        np.testing.assert_allclose(totals.loss_nats[chosen], plain_losses(some, whole), rtol=1e-12)
        works = [partial(plain_losses, some, whole), partial(whole_grid, grid, whole, threads)]
        plain_s, ours_s = in_turns_s(works, repeats)
        plain = [targets * len(some) / s / 1e6 for s in plain_s]
        lines += _lines(name, f"{len(cells):,} points", plain, targets * len(cells), ours_s, target)
    return lines + _shared_lines(whole, max(points // 10, 6), repeats, threads)


def _shared_lines(whole: Unit, points: int, repeats: int, threads: int) -> list[Line]:
    """The same for a fixed-share mixture of Dirichlet points."""
    members = cells_of(
        MixConfig(mixers=("dirichlet",), estimators=("exact",), concentrations=_steps(0.1, 64, points // len(ORDERS))),
        COUNTS,
    )
    mixture = (BayesConfig(share_rate=SHARE_RATE), members)
    part = whole.part(slice(0, PLAIN_SHARED_TARGETS))
    grid = Grid([], COUNTS, bayes=[mixture])
    grid.run(units_of(part), threads=threads)
    np.testing.assert_allclose(grid.mixed()[0].loss_nats, plain_shared(members, part), rtol=1e-10)
    works = [partial(plain_shared, members, part), partial(whole_grid, grid, whole, threads)]
    plain_s, ours_s = in_turns_s(works, repeats)
    plain = [len(part) * len(members) / s / 1e6 for s in plain_s]
    return _lines("fixed share", f"{len(members):,} members", plain, len(whole) * len(members), ours_s, "")


def _lines(
    name: str, size: str, plain: Sequence[float], token_points: int, ours_s: Sequence[float], target: str
) -> list[Line]:
    ours = [token_points / s / 1e6 for s in ours_s]
    return [
        Line(f"{name}: {size}", "s", Spread.of(ours_s), "<= 10" if target == ">= 100" else ""),
        Line(f"{name}: speed", "M token-points/s", Spread.of(ours), target),
        Line(f"{name}: over plain", "times", ratios(ours, plain)),
    ]


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
        Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.grid_speed", *argv]), lines),
        as_json=options.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
