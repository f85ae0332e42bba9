"""What is drawn again and what is taken from an earlier run: by all that a drawing shows, and by nothing else."""

import pytest

from pgolf.report import figures
from pgolf.report.families import pictures_of, sketches_of
from pgolf.report.folder import draw_run
from pgolf.report.run_facts import facts_of
from pgolf.tables.ranked import scorer_results
from tests.report.conftest import grid_rows, table_of

GRID = {"seeds": (1,), "orders": (2, 3, 4)}
OTHER = "demo-ba9876543210"


def rows(**grid):
    """A grid of two mixers, one of which has always the same weight."""
    return [
        *grid_rows(**{**GRID, "alphas": (0.1, 0.2), "mixers": ("backoff",), **grid}),
        *grid_rows(**{**GRID, "alphas": (0.5,), "mixers": ("adaptive",), **grid})[1:],
    ]


@pytest.fixture
def drawn(monkeypatch):
    """Names of what is drawn: by the name and the run alone, which takes no time."""
    names = []

    def draw(sketch, facts):
        names.append(sketch.name)
        data = f"{sketch.name} of {facts.run_key}".encode()
        return figures.Drawing(sketch.name, {"svg": data, "png": data})

    monkeypatch.setattr(figures, "draw", draw)
    return names


def of_other_run(given):
    return table_of([{**row, "run_key": OTHER} for row in given])


def test_another_grid_of_weights_leaves_the_drawings_of_the_mixers_without_them(tmp_path, drawn):
    first = draw_run(tmp_path, table_of(rows()))
    assert sorted(drawn) == ["adaptive-curves", "backoff-curves", "backoff-map"]
    drawn.clear()
    other = [{**row, "alpha": 0.3} if row.get("alpha") == 0.2 else row for row in rows()]
    second = draw_run(tmp_path, of_other_run(other))
    assert sorted(drawn) == ["backoff-curves", "backoff-map"]
    drawn.clear()
    third = draw_run(
        tmp_path, table_of([{**row, "run_key": "demo-333333333333", "eval_clock_s": 7.0} for row in rows()])
    )
    assert drawn == []
    assert {path.name for path in third.iterdir()} == {path.name for path in first.iterdir()}
    for name in ("backoff-map.png", "adaptive-curves.svg"):
        assert (third / name).read_bytes() == (first / name).read_bytes()
    assert second != third


def test_what_is_missing_there_or_drawn_of_another_number_is_drawn(tmp_path, drawn):
    first = draw_run(tmp_path, table_of(rows()))
    (first / "backoff-map.svg").unlink()
    drawn.clear()
    second = draw_run(tmp_path, of_other_run(rows()))
    assert drawn == ["backoff-map"]
    drawn.clear()
    assert draw_run(tmp_path, of_other_run(rows()), again=True) == second
    assert len(drawn) == 3


@pytest.mark.parametrize("change", [{"bpb": 2.0}, {"mass_mean": 3.0}, {"gpu": "H100"}, {"fits_budget": False}])
def test_the_key_covers_what_is_shown(change):
    from pgolf.report.drawn_before import key_of

    def keys(given):
        scores = table_of(given)
        found = scorer_results(scores)
        return {sketch.name: key_of(sketch, facts_of(scores, found)) for sketch in sketches_of(pictures_of(found))}

    before = rows()
    changed = [before[0], {**before[1], **change}, *before[2:]]
    known, now = keys(before), keys(changed)
    assert known["backoff-map"] != now["backoff-map"]
    assert keys([{**row, "started_utc": row["started_utc"], "eval_clock_s": 9.0} for row in before]) == known
