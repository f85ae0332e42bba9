"""Which pictures a grid gives, and which scorers stand where."""

from pgolf.report.families import MAX_PICTURES, evenly, pictures_of
from pgolf.tables.ranked import scorer_results
from tests.report.conftest import cell_row, grid_rows, table_of


def pictures(rows):
    return pictures_of(scorer_results(table_of(rows)))


def test_alpha_lies_along_x_and_order_along_y_and_every_scorer_stands_at_its_settings():
    rows = grid_rows(alphas=(0.4, 0.1, 0.2), orders=(5, 2, 3, 4))
    (picture,) = pictures(rows)
    assert (picture.x.name, picture.x.values) == ("alpha", (0.1, 0.2, 0.4))
    assert (picture.y.name, picture.y.values) == ("order", (2, 3, 4, 5))
    assert picture.y.label == "order (tokens)"
    assert [(panel.kind, panel.estimator) for panel in picture.panels] == [("honest", "exact"), ("legacy", "hashed")]
    for panel in picture.panels:
        assert len(panel.points) == 12
        for (alpha, order), result in panel.points.items():
            wanted = [
                row["bpb"]
                for row in rows
                if (row["estimator"], row.get("alpha"), row.get("order")) == (panel.estimator, alpha, order)
            ]
            assert result.values("bpb") == wanted


def test_one_varying_setting_gives_one_axis_and_none_gives_no_picture():
    (picture,) = pictures(grid_rows(alphas=(0.4,)))
    assert (picture.x.name, picture.y) == ("order", None)
    assert picture.fixed["alpha"] == 0.4
    assert pictures(grid_rows(alphas=(0.4,), orders=(3,))) == []
    assert pictures([cell_row(1, 2.0)]) == []


def test_mixers_do_not_share_a_picture():
    assert [picture.mixer for picture in pictures(grid_rows(mixers=("fixed", "backoff")))] == ["backoff", "fixed"]


def test_a_third_setting_gives_a_picture_per_value_and_no_scorer_is_lost():
    rows = grid_rows() + [row for row in grid_rows(granularity="64") if row["estimator"] != "neural"]
    found = pictures(rows)
    assert [picture.chosen for picture in found] == [{"granularity": "64"}, {"granularity": None}]
    assert sum(len(panel.points) for picture in found for panel in picture.panels) == 2 * 2 * 9


def test_of_many_combinations_evenly_spread_ones_are_drawn_and_the_picture_says_of_how_many():
    rows = [
        cell_row(1, 2.0 + count / 100, estimator="exact", mixer="fixed", order=order, alpha=alpha, min_count=count)
        for count in range(1, 30)
        for order in range(2, 34)
        for alpha in (k / 40 for k in range(33))
    ]
    found = pictures(rows)
    assert len(found) == MAX_PICTURES
    assert {(picture.drawn, picture.combinations) for picture in found} == {(MAX_PICTURES, 29)}
    assert [found[0].chosen, found[-1].chosen] == [{"min_count": 1}, {"min_count": 29}]


def test_a_setting_that_follows_from_the_others_gives_no_picture_of_its_own():
    rows = [
        cell_row(1, 2.0, estimator="exact", mixer="fixed", order=order, alpha=alpha, granularity=str(order * 10))
        for order in (2, 3, 4)
        for alpha in (0.1, 0.2, 0.3)
    ]
    (picture,) = pictures(rows)
    assert (picture.x.name, picture.y.name, picture.chosen) == ("alpha", "order", {})


def test_a_setting_without_a_column_that_follows_from_the_columns_makes_no_second_axis():
    rows = [
        cell_row(
            1, 2.0, estimator="exact", mixer="adaptive", order=order, extra={"falls_back_on": list(range(2, order))}
        )
        for order in (2, 3, 4)
    ]
    (picture,) = pictures(rows)
    assert (picture.x.name, picture.y) == ("order", None)


def test_settings_without_a_column_are_read_from_the_cell():
    rows = [
        cell_row(1, 2.0 + eta, estimator="hedge", mixer="hedge-proper", order=3, extra={"eta": eta})
        for eta in (0.3, 0.01, 0.1)
    ]
    (picture,) = pictures(rows)
    assert (picture.x.name, picture.x.values, picture.x.label) == ("eta", (0.01, 0.1, 0.3), "eta")


def test_a_setting_that_one_family_lacks_does_not_hide_that_family():
    exact = [
        row
        for row in grid_rows(estimators=("exact",), min_count=1) + grid_rows(estimators=("exact",))
        if row["estimator"] == "exact"
    ]
    hashed = [row for row in grid_rows(estimators=("hashed",)) if row["estimator"] == "hashed"]
    for picture in pictures(exact + hashed):
        assert [panel.estimator for panel in picture.panels] == ["exact", "hashed"]
        assert all(len(panel.points) == 9 for panel in picture.panels)


def test_only_normalized_and_causal_at_every_point_and_seed_is_honest():
    (picture,) = pictures(grid_rows(causal=False))
    assert [panel.kind for panel in picture.panels] == ["not causal", "legacy"]
    rows = grid_rows(estimators=("exact",))
    rows[-1] = {**rows[-1], "normalized": None}
    assert [panel.kind for panel in pictures(rows)[0].panels] == ["legacy"]


def test_evenly_keeps_both_ends():
    assert evenly(range(10), 4) == [0, 3, 6, 9]
    assert evenly("ab", 4) == ["a", "b"]
