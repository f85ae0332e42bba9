"""What stands in the pictures, read off the drawing library's own objects, and that their bytes repeat."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from pgolf.report.families import pictures_of, sketches_of
from pgolf.report.figures import MAX_LINES, Board, draw, notes_of, paint_curves, paint_map
from pgolf.report.run_facts import facts_of
from pgolf.tables.ranked import scorer_results
from tests.report.conftest import cell_row, grid_rows, table_of


def painted(rows, paint, legend_in=0.0):
    """(the one picture of the rows, its board after painting, the caption's notes)."""
    table = table_of(rows)
    results = scorer_results(table)
    (picture,) = pictures_of(results)
    board = Board.of(picture, legend_in=legend_in)
    notes = paint(picture, facts_of(table, results), board)
    return picture, board, notes


def drawings_of(rows):
    table = table_of(rows)
    results = scorer_results(table)
    facts = facts_of(table, results)
    return {sketch.name: draw(sketch, facts) for sketch in sketches_of(pictures_of(results))}


def caption_of(rows):
    """(what the caption of the one picture says, the facts of the run)."""
    table = table_of(rows)
    results = scorer_results(table)
    (picture,) = pictures_of(results)
    facts = facts_of(table, results)
    return " ".join(notes_of(picture, facts)), facts


def numbers(axes):
    return {(round(text.get_position()[0]), round(text.get_position()[1])): text.get_text() for text in axes.texts}


def stars(axes):
    return [line for line in axes.lines if line.get_marker() == "*"]


def mean_over_seeds(rows, column, **settings):
    return np.mean([row[column] for row in rows if settings.items() <= row.items()])


def test_a_maps_numbers_are_the_means_over_seeds_and_each_legacy_cell_has_its_mass_below():
    rows = grid_rows()
    _, board, _ = painted(rows, paint_map)
    for axes, estimator, column, spec in (
        (board.scores[0], "exact", "bpb", ".3f"),
        (board.scores[1], "hashed", "bpb", ".3f"),
        (board.masses[1], "hashed", "mass_mean", ".3g"),
    ):
        expected = {
            (i, j): f"{mean_over_seeds(rows, column, estimator=estimator, alpha=alpha, order=order):{spec}}"
            for i, alpha in enumerate((0.1, 0.2, 0.4))
            for j, order in enumerate((2, 3, 4))
        }
        assert numbers(axes) == expected
    assert list(board.masses) == [1]


def test_honest_and_legacy_have_scales_and_colours_of_their_own():
    _, board, _ = painted(grid_rows(), paint_map)
    honest, legacy = (axes.images[0] for axes in board.scores)
    assert honest.norm is not legacy.norm
    assert legacy.cmap.name == "Greys_r"
    assert "LEGACY, not a result" in board.scores[1].get_title()
    # White is the network: equal shades on both sides of it.
    network = mean_over_seeds(grid_rows(), "bpb", estimator="neural")
    assert honest.cmap(honest.norm(network))[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.02)


@pytest.mark.parametrize("paint", [paint_map, paint_curves])
def test_the_lowest_honest_mean_is_starred_and_no_legacy_or_learned_point_ever(paint):
    _, board, _ = painted(grid_rows(), paint)
    (star,) = stars(board.scores[0])
    if paint is paint_curves:
        assert star.get_xdata() == 0.4
        assert star.get_ydata() == pytest.approx(
            mean_over_seeds(grid_rows(), "bpb", estimator="exact", alpha=0.4, order=3)
        )
    assert not stars(board.scores[1])
    assert not stars(board.masses[1])
    _, board, _ = painted(grid_rows(causal=False), paint)
    assert not any(stars(axes) for axes in board.scores)


def test_curves_show_mean_band_every_seed_and_the_network():
    rows = grid_rows(orders=(3,))
    _, board, _ = painted(rows, paint_curves)
    for axes, estimator in zip(board.scores, ("exact", "hashed")):
        per_seed = np.array(
            [[row["bpb"] for row in rows if (row["estimator"], row["seed"]) == (estimator, seed)] for seed in (1, 2, 3)]
        )
        drawn = [np.asarray(line.get_ydata(), float) for line in axes.lines]
        assert any(np.allclose(line, per_seed.mean(axis=0)) for line in drawn)
        for seed in per_seed:
            assert any(line.shape == seed.shape and np.allclose(line, seed) for line in drawn)
        network = mean_over_seeds(rows, "bpb", estimator="neural")
        (dashed,) = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert dashed.get_ydata() == pytest.approx([network, network])
        band = axes.collections[0].get_paths()[0].vertices[:, 1]
        std = per_seed.std(axis=0, ddof=1)
        assert band.max() == pytest.approx((per_seed.mean(axis=0) + std).max())
        assert band.min() == pytest.approx((per_seed.mean(axis=0) - std).min())


def test_the_second_axis_is_nats_per_token():
    rows = grid_rows()
    table = table_of(rows)
    facts = facts_of(table, scorer_results(table))
    assert facts.nats_per_token_per_bpb == pytest.approx(rows[0]["loss_nats"] / rows[0]["bpb"])


def test_weights_near_one_do_not_flatten_the_rest_and_the_picture_says_what_lies_beyond():
    rows = grid_rows(alphas=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    rows += [
        cell_row(
            seed, 30.0, estimator=estimator, counts=estimator, mixer="fixed", order=order, alpha=1.0, min_count=2,
            normalized=estimator == "exact", mass_mean=9.0,
        )
        for seed in (1, 2, 3) for estimator in ("exact", "hashed") for order in (2, 3, 4)
    ]  # fmt: skip
    _, board, notes = painted(rows, paint_map)
    assert all(axes.images[0].norm.vmax < 4 for axes in board.scores)
    assert "6 points lie above" in " ".join(notes)
    _, board, notes = painted(rows, paint_curves)
    assert all(axes.get_ylim()[1] < 4 for axes in board.scores)
    assert "6 points lie above" in " ".join(notes)


def test_the_caption_says_n_std_what_legacy_is_and_that_choosing_now_is_tuning():
    text, facts = caption_of(grid_rows())
    assert "tune on the validation data" in text
    assert "at alpha 0.4, order 3" in text
    assert "(n = 3)" in text
    assert "sample std" in text
    assert "no code has this length" in text
    assert facts.line() == "demo · seeds 1, 2, 3 · 30,000 targets (57,000 bytes) · CPU · 2025-12-01"
    text, _ = caption_of(grid_rows(seeds=(1,), gpu="NVIDIA H100", fits_budget=False))
    assert "One seed" in text
    assert "±" not in text
    assert "Over the byte budget" in text
    text, facts = caption_of(grid_rows(causal=False, gpu="NVIDIA H100"))
    assert "Not scores" in text
    assert "tune" not in text
    assert "NVIDIA H100" in facts.line()


def test_ten_thousand_points_give_a_map_without_numbers_and_a_few_curves_the_best_among_them():
    rows = [
        cell_row(
            1, 2.0 + abs(alpha - 0.31) + abs(order - 53) / 100,
            estimator="exact", mixer="fixed", order=order, alpha=alpha,
        )
        for order in range(2, 102)
        for alpha in (k / 100 for k in range(100))
    ]  # fmt: skip
    _, board, _ = painted(rows, paint_map)
    assert not numbers(board.scores[0])
    assert board.scores[0].images[0].get_array().shape == (100, 100)
    _, board, notes = painted(rows, paint_curves)
    labels = board.scores[0].get_legend_handles_labels()[1]
    assert len(labels) <= MAX_LINES
    assert "53" in labels
    assert "8 of 100 values of order are drawn" in " ".join(notes)


def test_a_grid_with_holes_is_masked_where_it_has_no_point():
    rows = [row for row in grid_rows() if (row.get("alpha"), row.get("order")) != (0.2, 3)]
    _, board, notes = painted(rows, paint_map)
    assert (1, 1) not in numbers(board.scores[0])
    assert "Hatched" in " ".join(notes)


def test_each_drawing_is_an_svg_and_a_png_with_a_name_of_its_own():
    drawings = drawings_of(grid_rows(alphas=(0.1, 0.2), orders=(2, 3), mixers=("fixed", "backoff"), seeds=(1,)))
    assert sorted(drawings) == ["backoff-curves", "backoff-map", "fixed-curves", "fixed-map"]
    for drawing in drawings.values():
        assert drawing.files["svg"].startswith(b"<?xml")
        assert drawing.files["png"].startswith(b"\x89PNG")


PROGRAM = """
import hashlib, sys
from tests.report.conftest import grid_rows
from tests.report.test_figures import drawings_of
for name, drawing in sorted(drawings_of(grid_rows(seeds=(1, 2), alphas=(0.1, 0.2), orders=(2, 3))).items()):
    for ending, data in sorted(drawing.files.items()):
        print(name, ending, hashlib.sha256(data).hexdigest())
"""


def test_bytes_repeat_in_another_process_whatever_a_persons_own_drawing_settings_are(tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.size: 20\naxes.facecolor: red\nsavefig.dpi: 30\nsvg.fonttype: none\n")
    environment = {**os.environ, "PYTHONHASHSEED": "7", "MPLCONFIGDIR": str(tmp_path), "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    here = drawings_of(grid_rows(seeds=(1, 2), alphas=(0.1, 0.2), orders=(2, 3)))
    expected = [
        f"{name} {ending} {hashlib.sha256(data).hexdigest()}"
        for name, drawing in sorted(here.items())
        for ending, data in sorted(drawing.files.items())
    ]
    assert done.stdout.splitlines() == expected


def test_long_names_and_many_settings_are_laid_out_without_complaint():
    # A layout without room warns, and warnings are errors.
    name = "a-recipe-" + "with-a-long-name-" * 12
    rows = [{**row, "recipe": name} for row in grid_rows(seeds=tuple(range(1, 13)), orders=(2, 3), alphas=(0.1, 0.2))]
    assert drawings_of(rows).keys() == {"fixed-map", "fixed-curves"}


@pytest.mark.parametrize("verdict", [False, None])
def test_a_picture_of_scores_whose_bytes_nobody_verified_says_so(verdict):
    rows = grid_rows()
    assert "verified" not in caption_of(rows)[0]
    for row in rows:
        row["bytes_verified"] = verdict
    caption, facts = caption_of(rows)
    assert facts.unverified == "1, 2, 3"
    assert "Nobody has verified that the bytes counted are those of the text, so nothing here can be ranked" in caption
