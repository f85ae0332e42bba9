"""Grids as people write them."""

import pytest

from pgolf.errors import ConfigError
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import cells_of
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.grid_text import MOST_POINTS, refuse_large_grid, with_grid
from pgolf.recipes.overrides import apply_overrides

DEMO = recipe_named("demo")


def cells(recipe):
    return cells_of(recipe.mix, {name: recipe.count.of(name) for name in recipe.estimators})


def test_the_issues_own_example_is_its_points_and_widens_what_is_counted():
    recipe, said = with_grid(DEMO, ["alpha=0:0.6:0.05 order=2..9"], None)
    assert recipe.count.orders == tuple(range(2, 10))
    assert said == ("orders 6, 7, 8, 9 were not counted: count.orders is now 2, 3, 4, 5, 6, 7, 8, 9",)
    assert len(cells(recipe)) == 1 + 2 * 2 * 8 * 13
    assert {cell.mixer for cell in cells(recipe)} == {None, "fixed", "backoff"}


def test_orders_that_are_counted_already_say_nothing():
    recipe, said = with_grid(DEMO, ["alpha=0.2 order=3"], None)
    assert (recipe.count, said) == (DEMO.count, ())


@pytest.mark.parametrize(
    ("text", "mixers"),
    [
        ("alpha=0.1", ("fixed", "backoff")),
        ("k=1,4", ("dirichlet",)),
        ("concentration=2 alpha=0.1", ("fixed", "backoff", "dirichlet")),
        ("base=0.05 range=0.3,0.5", ("adaptive",)),
        ("slope=1 threshold=3,4", ("adaptive",)),
        ("alpha=0.1 mixer=backoff", ("backoff",)),
        ("order=3 min-count=1..3", DEMO.mix.mixers),
    ],
)
def test_a_product_is_for_the_mixers_that_use_what_it_names(text, mixers):
    assert with_grid(DEMO, [text], None)[0].mix.mixers == mixers


def test_several_texts_are_several_products_and_shares_are_mixtures_of_all_of_them():
    recipe, _ = with_grid(DEMO, ["k=1,4,16", "alpha=0.1 mixer=backoff order=5", "share=0,1e-4 chunk=1,64"], None)
    assert recipe.mix.mixers == ("dirichlet",)
    assert [product.mixers for product in recipe.mix.also] == [("backoff",)]
    assert recipe.mix.bayes == tuple(
        BayesConfig(share_rate=share, chunk_targets=chunk) for share in (0.0, 1e-4) for chunk in (1, 64)
    )
    alone, _ = with_grid(DEMO, ["share=0"], None)
    assert alone.mix.model_copy(update={"bayes": ()}) == DEMO.mix


def test_granularity_and_estimators_are_the_counts():
    recipe, _ = with_grid(DEMO, ["alpha=0.2 estimator=exact granularity=1"], None)
    assert recipe.count.granularity == 1
    assert {cell.estimator for cell in cells(recipe)} == {"neural", "exact"}


def test_a_file_is_products_and_mixtures(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(
        '[[product]]\nmixer = ["fixed"]\nalpha = "0:0.6:0.05"\norder = "2..9"\n'
        "[[product]]\nconcentrations = [1, 4]\n"
        "[[bayes]]\nshare_rate = 1e-4\n[[bayes.member]]\nk = [1, 4, 16]\n"
        '[[hedge]]\nexperts = "proper"\n'
    )
    recipe, said = with_grid(DEMO, [], path)
    assert len(recipe.mix.alphas) == 13
    assert recipe.mix.also[0].concentrations == (1, 4)
    assert recipe.mix.bayes[0].members[0].mixers == ("dirichlet",)
    assert [hedge.experts for hedge in recipe.mix.hedges] == ["proper"]
    assert said
    path.write_text("[[bayes]]\n[[bayes.member]]\nk = 4\n")
    recipe, _ = with_grid(DEMO, [], path)
    assert [cell.estimator for cell in cells(recipe)] == ["neural"]


def test_a_mixture_s_settings_have_one_name_in_text_and_file(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text("[[bayes]]\nshare = 1e-4\nchunk = 64\n")
    assert with_grid(DEMO, [], path)[0].mix.bayes == with_grid(DEMO, ["share=1e-4 chunk=64"], None)[0].mix.bayes
    path.write_text("[[bayes]]\nshare = 1e-4\nshare_rate = 1e-4\n")
    with pytest.raises(ConfigError, match="bayes names one value twice: share, share_rate"):
        with_grid(DEMO, [], path)


def test_orders_that_only_a_member_of_a_mixture_asks_for_are_counted(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('[[bayes]]\n[[bayes.member]]\nk = 4\norder = "2..7"\nestimator = "exact"\n')
    recipe, said = with_grid(DEMO, [], path)
    assert recipe.count.orders == (2, 3, 4, 5, 6, 7)
    assert said == ("orders 6, 7 were not counted: count.orders is now 2, 3, 4, 5, 6, 7",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alhpa=0.1", "no name 'alhpa'; did you mean alpha?"),
        ("xyzzy=1", "no name 'xyzzy'; there are alpha, order"),
        ("alpha", "'alpha' is not NAME=VALUES"),
        ("alpha=0.1 alpha=0.2", "names alpha twice"),
        ("k=1 concentration=2", "names concentrations twice"),
        ("alpha=1.5", "alphas.0: Input should be less than or equal to 1"),
        ("alpha=nan", "alphas.0"),
        ("order=1", "orders.0: Input should be greater than or equal to 2"),
        ("order=99", "orders.0: Input should be less than or equal to"),
        ("k=0", "concentrations.0"),
        ("share=1", "share_rate: Input should be less than 1"),
        ("tilt=1", "tilt needs hints"),
        ("mixer=geometric", "mixers.0"),
        ("base=0.5 range=0.6", "weight above 1"),
    ],
)
def test_a_text_that_is_no_grid_is_refused_with_advice(text, says):
    with pytest.raises(ConfigError) as told:
        with_grid(DEMO, [text], None)
    assert says in str(told.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[product]\n", "is not TOML"),
        ("[[prodcut]]\n", "did you mean product?"),
        ("[product]\nalpha = 0.1\n", "write [[product]]"),
        ("[[product]]\nalhpa = 0.1\n", "did you mean alpha?"),
        ("[[bayes]]\nshares = 0.1\n", "bayes.shares: there is no such setting; did you mean share_rate?"),
        ("[[hedge]]\neta = -1\n", "hedge.eta"),
    ],
)
def test_a_file_that_is_no_grid_is_refused_with_advice(tmp_path, text, says):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        with_grid(DEMO, [], path)
    assert says in str(told.value)
    with pytest.raises(ConfigError, match="No such file"):
        with_grid(DEMO, [], tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="two grids"):
        with_grid(DEMO, ["alpha=0"], path)


def test_a_large_grid_says_its_size_and_the_flag():
    recipe, _ = with_grid(DEMO, ["alpha=0:1:0.0001 order=2..5"], None)
    points = 1 + 2 * 2 * 4 * 10_001
    with pytest.raises(ConfigError, match=rf"has {points:,} points, more than the 10,000 .* --max-points {points}"):
        refuse_large_grid(recipe, MOST_POINTS)
    refuse_large_grid(recipe, points)


def test_an_order_that_the_counts_lack_is_refused_before_any_work():
    with pytest.raises(ConfigError, match="asks for order 9, but hashed counts hold 2, 3, 4, 5; count them too"):
        apply_overrides(DEMO, ["mix.orders=[9]"])
