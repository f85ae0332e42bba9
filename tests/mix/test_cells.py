"""From value lists to cells: which, in which order, how many, and what is refused."""

import pytest

from pgolf.counts.config import CountConfig
from pgolf.errors import ConfigError
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import NETWORK, cells_of, count_points, members_of
from pgolf.mix.config import MixConfig
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.product import Product

COUNTS = {
    "published": CountConfig(orders=(2, 4, 7)),
    "honest": CountConfig(estimator="exact", orders=(2, 5)),
}
COUNTED = {"hashed": (2, 4, 7), "exact": (2, 5)}
HINTED = (7, 9, 13)
PLAIN = MixConfig(
    alphas=(0.0, 0.1, 0.4, 0.999, 1.0),
    min_counts=(1, 2, 5),
    entropy_bases=(0.0, 0.05),
    entropy_ranges=(0.35, 0.95),
    entropy_slopes=(2.0, -1.0),
    entropy_thresholds=(3.0, 4.0),
)


def test_a_product_is_every_combination_that_its_mixers_use():
    cells = cells_of(PLAIN, COUNTS)
    per_order_and_min_count = 2 * 5 + 2**4
    assert len(cells) == 1 + (3 + 2) * 3 * per_order_and_min_count
    assert len(set(cells)) == len(cells)
    assert [cell.normalized for cell in cells] == [cell.estimator != "hashed" for cell in cells]
    assert cells[0] == NETWORK


def test_a_product_of_tilts_alone_has_orders_that_were_not_counted():
    product = Product(mixers=("tilt",), orders=(7, 13))
    assert {cell.order for cell in cells_of(MixConfig(mixers=(), also=(product,)), COUNTS, HINTED)} == {None, 7, 13}


def test_dirichlet_has_no_min_count_and_tilts_have_the_hints_orders():
    product = Product(mixers=("dirichlet", "tilt"), concentrations=(1, 2), tilts=(1, 2, 3), min_counts=(1, 2))
    cells = cells_of(MixConfig(mixers=(), also=(product,)), COUNTS, HINTED)
    dirichlet = [cell for cell in cells if cell.mixer == "dirichlet"]
    tilt = [cell for cell in cells if cell.mixer == "tilt"]
    assert len(dirichlet) == (3 + 2) * 2
    assert {cell.min_count for cell in dirichlet} == {None}
    assert len(tilt) == 3 * 3 * 2
    assert {(cell.estimator, cell.counts) for cell in tilt} == {("hint", None)}
    assert {cell.order for cell in tilt} == set(HINTED)


def test_a_point_that_several_products_name_is_one_cell():
    again = Product(mixers=("fixed",), alphas=(0.2, 0.1), min_counts=(2,))
    whole = cells_of(MixConfig(mixers=("fixed",), alphas=(0.1,), also=(again,)), COUNTS)
    apart = cells_of(MixConfig(mixers=("fixed",), alphas=(0.1, 0.2)), COUNTS)
    assert len(whole) == len(apart)
    assert set(whole) == set(apart)


def test_a_product_can_leave_out_count_tables():
    cells = cells_of(MixConfig(estimators=("exact",)), COUNTS)
    assert {cell.estimator for cell in cells} == {"neural", "exact"}
    with pytest.raises(ConfigError, match="mixes with exact counts, of which there are none"):
        cells_of(MixConfig(estimators=("exact",)), {"published": COUNTS["published"]})


def test_members_are_the_network_and_what_is_normalized():
    members = members_of((Product(mixers=("dirichlet", "fixed")),), COUNTS)
    assert members[0] == NETWORK
    assert {cell.estimator for cell in members} == {"neural", "exact"}


@pytest.mark.parametrize(
    "config",
    [
        PLAIN,
        MixConfig(orders=(2,), mixers=("fixed", "dirichlet"), concentrations=(1, 2)),
        MixConfig(estimators=("exact",), also=(Product(mixers=("tilt",), tilts=(1, 2), tilt_gammas=(0, 1)),)),
        MixConfig(mixers=(), hedges=(HedgeConfig(),)),
    ],
)
def test_points_are_counted_without_being_made(config):
    made = cells_of(config, COUNTS, HINTED)
    assert count_points(config, COUNTED, HINTED) == len(made) + len(config.hedges)


def test_members_named_by_a_mixture_count_as_points():
    config = MixConfig(mixers=(), bayes=(BayesConfig(members=(Product(mixers=("backoff",), alphas=(0.1,)),)),))
    assert count_points(config, COUNTED) == 1 + 1 + 5
    huge = tuple(k / 1000 for k in range(1000))
    lists = {"entropy_bases": huge, "entropy_slopes": huge, "entropy_thresholds": huge, "entropy_ranges": (0.0,)}
    assert count_points(MixConfig(mixers=("adaptive",), **lists), COUNTED) == 1 + 5 * 10**9


def test_without_counts_there_is_the_network_alone():
    assert cells_of(PLAIN, {}) == [NETWORK]


def test_an_order_that_was_not_counted_is_refused():
    with pytest.raises(ConfigError, match="asks for order 3, but counts 'honest' hold 2, 5"):
        cells_of(MixConfig(orders=(2, 3)), {"honest": COUNTS["honest"]})
    with pytest.raises(ConfigError, match="asks for order 2, but the hints hold 7, 9, 13"):
        cells_of(MixConfig(mixers=("tilt",), orders=(2,)), COUNTS, HINTED)


def test_a_tilt_without_hints_is_refused():
    with pytest.raises(ConfigError, match=r"tilt needs hints, and there are none.*--set hint=\{\}"):
        cells_of(MixConfig(mixers=("tilt",)), COUNTS)
