"""The grid, judged by evaluating each of its points alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.counts.config import CountConfig
from pgolf.mix import grid as grid_module
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import NETWORK, cells_of, members_of
from pgolf.mix.config import MixConfig
from pgolf.mix.grid import UNIT_RECORDS, Grid, Hints, Unit
from pgolf.mix.log_sums import GROUP
from pgolf.mix.product import Product
from tests.oracles import numpy_mixtures as mix
from tests.oracles import plain_mixtures as oracle

COUNTS = {
    "published": CountConfig(orders=(2, 4, 7)),
    "honest": CountConfig(estimator="exact", orders=(2, 5)),
}
HINTED = (7, 9, 13)
EVERYTHING = MixConfig(
    also=(
        Product(mixers=("dirichlet",), concentrations=(1e-6, 0.5, 4.0, 1e9)),
        Product(
            mixers=("tilt",),
            tilts=(0.0, 2.625, 20.0),
            tilt_gammas=(0.0, 0.5),
            tilt_confidences=(0, 0.8),
            min_counts=(1, 3),
        ),
    ),
    alphas=(0.0, 0.1, 0.4, 0.999, 1.0),
    min_counts=(1, 2, 5),
    entropy_bases=(0.0, 0.05),
    entropy_ranges=(0.35, 0.95),
    entropy_slopes=(2.0, -1.0),
    entropy_thresholds=(3.0, 4.0),
)


def records(size, seed, *, hardest_nats=30.0):
    """Loss, entropy and counts with all the cases: unseen contexts, unseen targets, full above context, long losses."""
    rng = np.random.default_rng(seed)
    loss = np.where(rng.random(size) < 0.05, rng.uniform(0, hardest_nats, size), rng.exponential(2.5, size))
    entropy = rng.uniform(0, 7, size)
    counts = {}
    for name, config in COUNTS.items():
        context = [rng.poisson(mean, size).astype(np.uint32) for mean in (30, 2, 0.5)[: len(config.orders)]]
        if config.estimator == "exact":
            full = [rng.binomial(c, 0.3).astype(np.uint32) for c in context]
        else:
            full = [rng.poisson(1.5, size).astype(np.uint32) for _ in context]
        counts[name] = context + full
    loss = loss.astype(np.float32)
    context = [rng.poisson(mean, size).astype(np.uint32) for mean in (6, 2, 0.3)]
    count = [rng.binomial(c, 0.8).astype(np.uint32) for c in context]
    right = [rng.random(size) < 0.3 for _ in HINTED]
    wrong = [np.log1p(-np.exp(-loss.astype(np.float64))) - rng.exponential(1, size) - 1e-6 for _ in HINTED]
    logp = [np.where(hit, -loss, other).astype(np.float32) for hit, other in zip(right, wrong)]
    return Unit(loss, entropy.astype(np.float32), counts, Hints(context, count, right, logp))


def units_of(unit, size):
    return [unit.part(slice(first, first + size)) for first in range(0, len(unit), size)]


def hint_loss_by_definition(cell, unit):
    rows = slice(0, HINTED.index(cell.order) + 1)
    context, count = np.stack(unit.hints.context[rows]), np.stack(unit.hints.count[rows])
    hit = mix.confident_hit(context, count, min_count=cell.min_count, confidence=cell.tilt_confidence)
    places = np.arange(len(hit))
    loss_T = mix.tilted_loss(
        unit.loss_nats,
        np.stack(unit.hints.logp)[hit, places],
        np.stack(unit.hints.is_target)[hit, places],
        hit >= 0,
        tilt_nats=cell.tilt_nats,
        gamma=cell.tilt_gamma,
    )
    return loss_T, hit >= 0


def loss_by_definition(cell, unit):
    """Loss in nats of every record for one cell, float64, one array operation after the other; and who was matched."""
    if cell.estimator == "hint":
        return hint_loss_by_definition(cell, unit)
    if cell.counts is None:
        return unit.loss_nats.astype(np.float64), np.zeros(len(unit.loss_nats), bool)
    orders = COUNTS[cell.counts].orders
    row = orders.index(cell.order)
    if cell.mixer == "dirichlet":
        columns = np.split(np.stack(unit.counts[cell.counts]), 2)
        context, full = (column[: row + 1] for column in columns)
        loss_T = mix.dirichlet_loss(unit.loss_nats, context, full, cell.concentration, legacy=not cell.normalized)
        return loss_T, (context > 0).any(axis=0)
    rows = [row] if cell.mixer == "fixed" else list(range(row + 1))
    context = np.stack([unit.counts[cell.counts][k] for k in rows])
    full = np.stack([unit.counts[cell.counts][len(orders) + k] for k in rows])
    hit = mix.first_hit(context, cell.min_count)
    places = np.arange(len(hit))
    r_T = mix.estimate(context[hit, places], full[hit, places])
    alpha = cell.alpha
    if cell.mixer == "adaptive":
        alpha = mix.adaptive_alpha(
            unit.entropy_nats,
            base=cell.entropy_base,
            span=cell.entropy_range,
            slope=cell.entropy_slope,
            threshold_nats=cell.entropy_threshold_nats,
        )
    loss = mix.legacy_loss if cell.estimator == "hashed" else mix.normalized_loss
    return loss(unit.loss_nats, alpha, r_T, hit >= 0), hit >= 0


def assert_grid_is_its_points(unit, units, threads=2):
    cells = cells_of(EVERYTHING, COUNTS, HINTED)
    totals = Grid(cells, COUNTS, hinted=HINTED).run(units, threads=threads)
    for number, cell in enumerate(cells):
        loss_T, matched_T = loss_by_definition(cell, unit)
        # The claim of the grid: products of 16 and another order of summation cost at most 1e-12 of the sum.
        assert totals.loss_nats[number] == pytest.approx(loss_T.sum(), rel=1e-12, abs=1e-11), cell
        assert totals.matched[number] == matched_T.sum()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 4 * GROUP), st.sampled_from([7, GROUP, 1000]))
def test_every_cell_is_its_plain_evaluation(seed, size, unit_records):
    unit = records(size, seed)
    assert_grid_is_its_points(unit, units_of(unit, unit_records))


def test_every_cell_is_its_plain_evaluation_over_many_records():
    unit = records(100_003, 1)
    assert_grid_is_its_points(unit, units_of(unit, UNIT_RECORDS))


def test_losses_far_beyond_what_a_softmax_gives_do_not_underflow():
    """16 factors of e^-700 are no double; a normalized mixture must not lose them."""
    unit = records(3000, 2, hardest_nats=700.0)
    assert_grid_is_its_points(unit, units_of(unit, 3000))


MIXTURES = (
    BayesConfig(),
    BayesConfig(share_rate=1e-3),
    BayesConfig(share_rate=0.05, chunk_targets=33, members=(Product(mixers=("dirichlet",), concentrations=(2.0,)),)),
    BayesConfig(chunk_targets=16, members=(Product(mixers=("backoff", "tilt"), estimators=("exact",)),)),
)


def with_mixtures():
    cells = cells_of(EVERYTHING, COUNTS, HINTED)
    normalized = [cell for cell in cells if cell.normalized]
    members = [
        normalized if own.members is None else members_of(own.members, COUNTS, HINTED if number == 3 else None)
        for number, own in enumerate(MIXTURES)
    ]
    return cells, members


def test_mixtures_of_mixtures_are_those_of_the_members_plain_losses():
    unit = records(700, 5)
    cells, members = with_mixtures()
    grid = Grid(cells, COUNTS, hinted=HINTED, bayes=list(zip(MIXTURES, members)))
    grid.run(units_of(unit, 200), threads=2)
    for config, listed, mixed in zip(MIXTURES, members, grid.mixed(), strict=True):
        p_TK = np.exp([-loss_by_definition(cell, unit)[0] for cell in listed]).T
        total, _ = oracle.shared(p_TK.tolist(), config.share_rate, config.chunk_targets)
        assert listed[0] == NETWORK
        assert mixed.loss_nats == pytest.approx(total, rel=1e-10)
        assert mixed.shares.sum() == pytest.approx(1)
        best = -np.log(p_TK).sum(axis=0).min()
        if not config.share_rate:
            assert mixed.loss_nats <= best + config.chunk_targets * np.log(len(listed))


def test_members_outside_the_grid_add_no_cell_before_its_own():
    cells, members = with_mixtures()
    grid = Grid(cells, COUNTS, hinted=HINTED, bayes=list(zip(MIXTURES, members)))
    assert grid.cells[: len(cells)] == tuple(cells)
    assert set(grid.cells[len(cells) :]) == {cell for listed in members for cell in listed} - set(cells)


def sums_of(grid):
    return {name: array.tobytes() for name, array in grid.state().items()}


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr(grid_module, "SLICE_PROBABILITIES", 10_000)
    unit = records(9_000, 3)
    cells, members = with_mixtures()
    grids = [Grid(cells, COUNTS, hinted=HINTED, bayes=list(zip(MIXTURES, members))) for _ in range(2)]
    for grid, threads in zip(grids, (1, 4)):
        grid.run(units_of(unit, 1000), threads=threads)
    assert sums_of(grids[0]) == sums_of(grids[1])
    assert grids[0].mixed()[1].loss_nats == grids[1].mixed()[1].loss_nats


def test_a_grid_that_goes_on_from_its_sums_ends_with_the_same_bits():
    unit = records(4000, 6)
    cells, members = with_mixtures()
    made = [Grid(cells, COUNTS, hinted=HINTED, bayes=list(zip(MIXTURES, members))) for _ in range(2)]
    kept = []
    made[0].run(
        units_of(unit, 500),
        threads=2,
        after_unit=lambda _: kept.append({n: a.copy() for n, a in made[0].state().items()}),
    )
    assert len(kept) == 8
    made[1].restore(kept[2])
    made[1].run(units_of(unit, 500)[3:], threads=2)
    assert sums_of(made[0]) == sums_of(made[1])


def test_alpha_zero_is_the_network():
    unit = records(5000, 4, hardest_nats=27.0)  # below the legacy floor
    cells = cells_of(MixConfig(mixers=("fixed", "backoff"), alphas=(0.0,)), COUNTS)
    totals = Grid(cells, COUNTS).run([unit])
    assert totals.loss_nats == pytest.approx(np.full(len(cells), totals.loss_nats[0]), rel=1e-12)
