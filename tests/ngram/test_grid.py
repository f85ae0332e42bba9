"""The grid, judged by evaluating each of its points alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.errors import ConfigError
from pgolf.ngram import mix
from pgolf.ngram.cells import cells_of
from pgolf.ngram.config import CountConfig
from pgolf.ngram.grid import UNIT_RECORDS, Grid, Unit
from pgolf.ngram.grid_loops import GROUP
from pgolf.ngram.mix_config import MixConfig

COUNTS = {
    "published": CountConfig(orders=(2, 4, 7)),
    "honest": CountConfig(estimator="exact", orders=(2, 5)),
}
EVERYTHING = MixConfig(
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
    return Unit(loss.astype(np.float32), entropy.astype(np.float32), counts)


def cut(unit, first, last):
    part = slice(first, last)
    return Unit(
        unit.loss_nats[part], unit.entropy_nats[part], {n: [c[part] for c in cs] for n, cs in unit.counts.items()}
    )


def units_of(unit, size):
    return [cut(unit, first, first + size) for first in range(0, len(unit.loss_nats), size)]


def loss_by_definition(cell, unit):
    """Loss in nats of every record for one cell, float64, one array operation after the other; and who was matched."""
    if cell.counts is None:
        return unit.loss_nats.astype(np.float64), np.zeros(len(unit.loss_nats), bool)
    orders = COUNTS[cell.counts].orders
    row = orders.index(cell.order)
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
    cells = cells_of(EVERYTHING, COUNTS)
    totals = Grid(cells, COUNTS).run(units, threads=threads)
    for number, cell in enumerate(cells):
        loss_T, matched_T = loss_by_definition(cell, unit)
        # The claim of the grid: products of 16 and another order of summation cost at most 1e-12 of the sum.
        assert totals.loss_nats[number] == pytest.approx(loss_T.sum(), rel=1e-12, abs=1e-11), cell
        assert totals.matched[number] == (matched_T.sum() if cell.counts else 0)


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


def test_threads_change_no_bit():
    unit = records(20_000, 3)
    cells = cells_of(EVERYTHING, COUNTS)
    one, four = (Grid(cells, COUNTS).run(units_of(unit, 1000), threads=threads) for threads in (1, 4))
    assert np.array_equal(one.loss_nats, four.loss_nats)
    assert np.array_equal(one.matched, four.matched)


def test_alpha_zero_is_the_network():
    unit = records(5000, 4, hardest_nats=27.0)  # below the legacy floor
    cells = cells_of(MixConfig(mixers=("fixed", "backoff"), alphas=(0.0,)), COUNTS)
    totals = Grid(cells, COUNTS).run([unit])
    assert totals.loss_nats == pytest.approx(np.full(len(cells), totals.loss_nats[0]), rel=1e-12)


def test_grid_counts_its_cells():
    cells = cells_of(EVERYTHING, COUNTS)
    per_order_and_min_count = 2 * 5 + 2**4
    assert len(cells) == 1 + (3 + 2) * 3 * per_order_and_min_count
    assert len(set(cells)) == len(cells)
    assert [cell.normalized for cell in cells] == [cell.estimator != "hashed" for cell in cells]
    assert cells[0].estimator == "neural"


def test_without_counts_there_is_the_network_alone():
    assert [cell.estimator for cell in cells_of(EVERYTHING, {})] == ["neural"]


def test_an_order_that_was_not_counted_is_refused():
    with pytest.raises(ConfigError, match="asks for order 3, but counts 'honest' hold 2, 5"):
        cells_of(MixConfig(orders=(2, 3)), {"honest": COUNTS["honest"]})
