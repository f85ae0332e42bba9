"""A finite loss of the network gives finite, exact losses of every normalized mixture, however small p is."""

import itertools
import math

import numpy as np
import pytest

from pgolf.counts.config import CountConfig
from pgolf.mix.bayes import Sharing, padded
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import NETWORK
from pgolf.mix.grid import Grid, Hints, Unit
from pgolf.mix.hedge import initial_log_weights, log_shares, mixture_loss, moved_log_weights
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.log_sums import GROUP
from pgolf.mix.product import Cell
from tests.mixture_losses import losses_of
from tests.oracles import plain_mixtures as oracle

LARGEST = float(np.finfo(np.float32).max)
LOSSES = (0.0, 2.5, 650.0, 690.0, 691.0, 708.5, 745.0, 746.0, 760.0, 1e4, 1e30, LARGEST)
ORDERS = (2, 3)
COUNTS = {"counts": CountConfig(orders=ORDERS, estimator="exact")}
HINTED = (7,)
# (context, full) of both orders: never seen, seen without the target, seen with it, and the largest of all counts.
SEEN = (((0, 0), (0, 0)), ((5, 0), (0, 0)), ((5, 0), (3, 0)), ((5, 2), (3, 0)), ((2**32 - 1, 0), (2**32 - 1, 0)))
# There is a hint, it is the target; its probability is then that of the target, else 1e-3.
HINTS = ((False, False), (True, False), (True, True))

CASES = list(itertools.product(LOSSES, SEEN, HINTS))
ALPHAS = (0.0, 1e-300, 0.4, 1.0)
CONCENTRATIONS = (1e-6, 1.0, 1e9)
TILTS = (0.0, 2.625, 20.0)
ADAPTIVE = {"entropy_base": 0.45, "entropy_range": 0.55, "entropy_slope": 2.0, "entropy_threshold_nats": 4.0}


def of_counts(mixer, order, **settings):
    return Cell(estimator="exact", counts="counts", mixer=mixer, order=order, **settings)


CELLS = [
    NETWORK,
    *(of_counts(m, n, min_count=1, alpha=a) for m in ("fixed", "backoff") for n in ORDERS for a in ALPHAS),
    *(of_counts("adaptive", n, min_count=1, **ADAPTIVE) for n in ORDERS),
    *(of_counts("dirichlet", n, concentration=k) for n in ORDERS for k in CONCENTRATIONS),
    *(
        Cell(estimator="hint", mixer="tilt", order=7, min_count=1, tilt_nats=b, tilt_confidence=0.8, tilt_gamma=0.0)
        for b in TILTS
    ),
]


def unit_of(cases):
    """Records in a given order, their entropy far above the threshold: the adaptive weight is 1."""
    loss_T = np.array([loss for loss, _, _ in cases], np.float32)
    context = [np.array([seen[row][0] for _, seen, _ in cases], np.uint32) for row in range(2)]
    full = [np.array([seen[row][1] for _, seen, _ in cases], np.uint32) for row in range(2)]
    hinted_T = np.array([hint[0] for _, _, hint in cases])
    is_target_T = np.array([hint[1] for _, _, hint in cases])
    logp_T = np.where(is_target_T, -loss_T, np.float32(math.log(1e-3))).astype(np.float32)
    hints = Hints([hinted_T.astype(np.uint32)] * 1, [hinted_T.astype(np.uint32)] * 1, [is_target_T], [logp_T])
    return Unit(loss_T, np.full(len(cases), 90.0, np.float32), {"counts": context + full}, hints)


def loss_by_definition(cell, case):
    loss, seen, (hinted, is_target) = case
    loss = float(np.float32(loss))
    rows = seen[: 1 + ORDERS.index(cell.order)] if cell.counts else ()
    weight, added = 1, 0
    if cell.mixer == "dirichlet":
        weight, added = oracle.parts_of_dirichlet(cell.concentration, rows)
    elif cell.mixer == "tilt":
        logp = float(np.float32(-loss if is_target else math.log(1e-3)))
        weight, added = oracle.parts_of_tilt(cell.tilt_nats, math.exp(logp), is_target) if hinted else (1, 0)
    elif cell.mixer is not None:
        tried = rows[-1:] if cell.mixer == "fixed" else rows[::-1]
        served = next((row for row in tried if row[0] >= 1), None)
        alpha = 1.0 if cell.alpha is None else cell.alpha
        weight, added = oracle.parts_of_interpolation(alpha, *served) if served else (1, 0)
    return oracle.affine_loss(loss, oracle.Fraction(weight), oracle.Fraction(added))


EXPECTED = np.array([[loss_by_definition(cell, case) for case in CASES] for cell in CELLS])


def test_a_target_that_the_network_gives_760_nats_costs_those_and_its_weight():
    """Context 5, never with the target."""
    unit = unit_of([(760.0, ((5, 0), (0, 0)), (False, False))])
    assert losses_of(of_counts("fixed", 2, min_count=1, alpha=0.4), unit, COUNTS) == pytest.approx(
        [760 - math.log(0.6)]
    )


@pytest.mark.parametrize("number", range(len(CELLS)))
def test_every_target_by_itself_has_the_loss_of_exact_arithmetic(number):
    found_T = losses_of(CELLS[number], unit_of(CASES), COUNTS, HINTED)
    assert np.isfinite(found_T).all()
    # Next to 1 the last bits of a probability are 1e-16 nats.
    assert found_T == pytest.approx(EXPECTED[number], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("repeats", [1, 2 * GROUP // len(CASES) + 1])
def test_sums_over_easy_and_hopeless_targets_are_those_of_exact_arithmetic(repeats):
    """Short of the losses beside which all others vanish; in one unit and cut, where groups are full and where not."""
    usual = [place for place, case in enumerate(CASES) if case[0] <= 1e4] * repeats
    unit = unit_of([CASES[place] for place in usual])
    units = [unit.part(slice(first, first + 100)) for first in range(0, len(unit), 100)]
    for cut in ([unit], units):
        totals = Grid(CELLS, COUNTS, hinted=HINTED).run(cut, threads=2)
        assert totals.loss_nats == pytest.approx(EXPECTED[:, usual].sum(axis=1), rel=1e-12)


@pytest.mark.parametrize(("share_rate", "chunk"), [(1e-3, 1), (0.3, 1), (0.0, 4), (0.05, 4)])
@pytest.mark.parametrize("most", [760.0, 1e4, LARGEST])
@pytest.mark.parametrize("all_members", [False, True])
def test_followed_mixtures_pay_for_losses_that_all_members_have(share_rate, chunk, most, all_members):
    """No floor: with the network alone the mixture is the network."""
    cells = CELLS if all_members else CELLS[:1]
    listed = [place for place, case in enumerate(CASES) if case[0] <= most][::3]
    unit = unit_of([CASES[place] for place in listed])
    grid = Grid([], COUNTS, hinted=HINTED, bayes=[(BayesConfig(share_rate=share_rate, chunk_targets=chunk), cells)])
    grid.run([unit.part(slice(0, 20)), unit.part(slice(20, None))], threads=2)
    (mixed,) = grid.mixed()
    losses = EXPECTED[: len(cells), listed].T
    assert mixed.loss_nats == pytest.approx(oracle.shared_log(losses.tolist(), share_rate, chunk), rel=1e-11)
    assert mixed.loss_nats >= losses.min(axis=1).sum() * (1 - 1e-12)
    assert np.isfinite(mixed.shares).all()
    assert mixed.shares.sum() == pytest.approx(1)


def test_bayes_takes_any_total():
    grid = Grid(CELLS, COUNTS, hinted=HINTED, bayes=[(BayesConfig(), CELLS)])
    totals = grid.run([unit_of(CASES)])
    (mixed,) = grid.mixed()
    assert totals.loss_nats.min() <= mixed.loss_nats <= totals.loss_nats.min() + math.log(len(CELLS)) + 1e-12 * LARGEST


@pytest.mark.parametrize("loss", [760.0, 1e30, LARGEST])
def test_hedge_goes_on_with_the_other_experts(loss):
    log_weight_K = initial_log_weights(HedgeConfig())
    loss_K = np.array([loss, 5.0, 4.0, 3.0])
    for _ in range(30):
        mixed = mixture_loss(log_shares(log_weight_K), loss_K[:, None])
        assert 3.0 < mixed[0] < 10.0
        log_weight_K = moved_log_weights(log_weight_K, loss_K, 0.5)
    assert mixture_loss(log_shares(log_weight_K), np.full((4, 1), LARGEST)) == pytest.approx([LARGEST])


@pytest.mark.parametrize("loss", [1e3, 1e17, 3.4e38])
def test_a_loss_that_all_members_have_moves_no_weight_however_large(loss):
    sharing = Sharing(2, share_rate=1e-9, chunk_targets=1)
    probability_TP = np.zeros((1, padded(2)))
    probability_TP[0, :2] = 0.9, 0.0005
    sharing.add(probability_TP)
    before = sharing.shares()
    assert before[0] > 0.99
    sharing.add(np.zeros((1, padded(2))), hard={0: np.array([loss, loss])})
    np.testing.assert_allclose(sharing.shares(), before, rtol=1e-5)  # the share of 1e-9 is dealt out in between
