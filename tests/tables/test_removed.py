"""Runs leave the tables and come back, byte by byte; what they declared and scored goes on counting."""

import pytest

from pgolf.errors import ConfigError, ResultsError
from pgolf.pipeline.declared import _scored
from pgolf.pipeline.outcome import _first_score_utc
from pgolf.recipes.catalog import recipe_named
from pgolf.tables import removed
from pgolf.tables.named_runs import Run, name_run, runs_in
from pgolf.tables.parquet import append, read
from pgolf.tables.removed import remove_run, removed_results, removed_runs, take_back
from pgolf.tables.schema import ATTEMPTS, SCORES, STAGES
from tests.score_rows import score_row

KEYS = ("demo-0123456789ab", "demo-fedcba987654", "demo-0123456789ab-tail")


@pytest.fixture
def results(tmp_path):
    stage = {"recipe": "demo", "stage": "mix", "node": "mix[1]", "key": "k", "built": True}
    for key in KEYS:
        append(tmp_path, SCORES, key, [score_row(recipe="demo", seed=1)])
        append(tmp_path, STAGES, f"{key}-20261129T010203", [stage])
        append(tmp_path, ATTEMPTS, key, [{"recipe": "demo", "attempt": 0, "total_bytes": 7}])
        name_run(tmp_path, Run(key=key, recipe="demo", recipe_key=None, name=f"run {key[-4:]}"))
        (tmp_path / "figures" / key).mkdir(parents=True)
        (tmp_path / "figures" / key / "a.svg").write_text("<svg/>")
    for table in ("declarations", "seeds"):
        (tmp_path / table).mkdir()
        (tmp_path / table / f"{KEYS[0]}-x.parquet").write_text("stays")
    return tmp_path


def tree(results):
    return {str(path.relative_to(results)): path.read_bytes() for path in results.rglob("*") if path.is_file()}


def named(results):
    return [run.key for run in runs_in(results)]


def test_a_removed_run_leaves_every_table_but_the_declarations_and_comes_back_byte_by_byte(results):
    before = tree(results)
    run = runs_in(results)[0]
    gone = remove_run(results, run)
    assert named(results) == [KEYS[2], KEYS[1]], "one whose key begins alike stays"
    assert {path.parent.name for path in gone} == {"scores", "stages", "attempts", "runs", "figures"}
    left = {path for path in results.glob(f"*/{KEYS[0]}*") if KEYS[2] not in path.name}
    assert left == {results / table / f"{KEYS[0]}-x.parquet" for table in ("declarations", "seeds")}
    assert [run.name for run in removed_runs(results)] == ["run 89ab"]
    assert take_back(results, "run 89ab").key == KEYS[0]
    assert tree(results) == before
    assert removed_results(results) == []
    with pytest.raises(ConfigError, match="no run 0123"):
        take_back(results, "0123")


def test_a_removal_that_was_cut_short_is_finished_by_the_next(results, monkeypatch):
    run = runs_in(results)[0]
    move, left = removed._move, [3]

    def fail_after_three(path, to):
        left[0] -= 1
        if left[0] < 0:
            raise ResultsError("killed")
        move(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(removed, "_move", fail_after_three)
        with pytest.raises(ResultsError):
            remove_run(results, run)
    assert run.key in named(results), "its scores go last"
    remove_run(results, run)
    assert run.key not in named(results)
    left = [path.parent.name for path in results.glob(f"*/{run.key}*") if KEYS[2] not in path.name]
    assert sorted(left) == ["declarations", "seeds"]


def test_scores_once_seen_stay_seen_by_what_judges_declarations(results):
    recipe = recipe_named("demo")
    text = {"val_sha256": None, "text_sha256": None}
    for run in runs_in(results):
        rows = {"val_sha256": score_row()["val_sha256"], "text_sha256": score_row()["text_sha256"]}
        before = _scored(recipe, results), _first_score_utc(recipe, text | rows, ["2030-01-01T00:00:00+00:00"], results)
        remove_run(results, run)
        assert (
            _scored(recipe, results),
            _first_score_utc(recipe, text | rows, ["2030-01-01T00:00:00+00:00"], results),
        ) == before
        assert before[0]
        assert before[1].year < 2030
    assert read(results, SCORES).num_rows == 0


def test_what_was_removed_in_two_parts_comes_back_whole(results, monkeypatch):
    before = tree(results)
    run = runs_in(results)[0]
    move, left = removed._move, [3]

    def cut_short(path, to):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        move(path, to)

    monkeypatch.setattr(removed, "_move", cut_short)
    with pytest.raises(KeyboardInterrupt):
        remove_run(results, run)
    monkeypatch.undo()
    remove_run(results, run)
    assert len(removed_results(results)) == 2
    take_back(results, run.key)
    assert tree(results) == before
    assert removed_results(results) == []


def test_a_later_run_of_that_key_is_not_overwritten(results):
    run = runs_in(results)[0]
    remove_run(results, run)
    append(results, SCORES, run.key, [score_row(recipe="demo", seed=7)])
    now = tree(results)
    with pytest.raises(ResultsError, match="is there already, from a later run: `pgolf rm demo-0123456789ab` first"):
        take_back(results, run.key)
    assert tree(results) == now
