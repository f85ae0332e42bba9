"""A run's folder of pictures: whole or absent, drawn once, redrawn on request."""

import os
import signal
import subprocess
import sys

import pytest

from pgolf.errors import ResultsError
from pgolf.report.drawn_before import KEYS
from pgolf.report.folder import draw_run, figures_folder
from pgolf.tables.parquet import append, read
from pgolf.tables.schema import SCORES
from tests.report.conftest import cell_row, grid_rows, table_of

SMALL = {"seeds": (1,), "alphas": (0.1, 0.2), "orders": (3,)}
KEY = "demo-0123456789ab"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != KEYS}


def test_pictures_are_drawn_once_and_again_only_on_request_with_the_same_bytes(tmp_path):
    scores = table_of(grid_rows(**SMALL))
    folder = draw_run(tmp_path, scores)
    assert folder == figures_folder(tmp_path, KEY)
    first = contents(folder)
    assert sorted(first) == ["fixed-curves.png", "fixed-curves.svg"]
    (folder / "fixed-curves.svg").write_text("mine")
    assert draw_run(tmp_path, scores) == folder
    assert (folder / "fixed-curves.svg").read_text() == "mine"
    assert draw_run(tmp_path, scores, again=True) == folder
    assert contents(folder) == first
    assert [path.name for path in folder.parent.iterdir()] == [KEY]


def test_rows_read_back_from_the_tables_give_the_same_pictures(tmp_path):
    rows = grid_rows(**SMALL)
    first = contents(draw_run(tmp_path / "a", table_of(rows)))
    append(tmp_path / "b", SCORES, KEY, rows)
    assert contents(draw_run(tmp_path / "b", read(tmp_path / "b", SCORES))) == first


def test_a_grid_of_single_points_leaves_no_folder(tmp_path):
    assert draw_run(tmp_path, table_of([cell_row(1, 2.0)])) is None
    assert list(tmp_path.iterdir()) == []


def test_rows_of_two_runs_are_refused(tmp_path):
    rows = grid_rows(**SMALL)
    with pytest.raises(ResultsError, match="a picture shows one run, not 2: demo-0123456789ab, other"):
        draw_run(tmp_path, table_of([*rows, *({**row, "run_key": "other", "recipe_key": "b" * 64} for row in rows)]))
    with pytest.raises(ResultsError, match="not 0: no rows"):
        draw_run(tmp_path, table_of([]))


def test_a_folder_that_cannot_be_made_is_an_error_in_words(tmp_path):
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(ResultsError, match=r"could not be written to .*figures: .*the tables are as they were"):
        draw_run(tmp_path, table_of(grid_rows(**SMALL)))


KILLED = """
import os, signal, sys
from pathlib import Path
from pgolf.report import figures, folder
from tests.report.conftest import grid_rows, table_of

draw, drawn = figures.draw, []
def draw_one_and_die(*arguments):
    if drawn:
        os.kill(os.getpid(), signal.SIGKILL)
    drawn.append(arguments)
    return draw(*arguments)
figures.draw = draw_one_and_die
folder.draw_run(Path(sys.argv[1]), table_of(grid_rows(seeds=(1,), alphas=(0.1, 0.2), orders=(2, 3))))
"""


def test_a_kill_between_two_pictures_leaves_no_folder_and_the_next_run_draws_all_and_clears_up(tmp_path):
    killed = subprocess.run([sys.executable, "-m", "tests.program", KILLED, str(tmp_path)], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    folder = figures_folder(tmp_path, KEY)
    assert not folder.exists()
    (left,) = folder.parent.iterdir()
    assert any(left.iterdir())
    mine = folder.parent / f".{KEY}.{os.getpid()}-0000.tmp"
    mine.mkdir()
    scores = table_of(grid_rows(seeds=(1,), alphas=(0.1, 0.2), orders=(2, 3)))
    assert len(contents(draw_run(tmp_path, scores))) == 4
    # A living writer's folder stays.
    assert sorted(folder.parent.iterdir()) == [mine, folder]


def test_what_draws_only_on_request_is_loaded_only_then(tmp_path):
    program = (
        "import sys, pgolf.pipeline.outcome, pgolf.report.folder\n"
        "print(*sys.modules.keys() & {'matplotlib', 'torch', 'prefect', 'pandas'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
