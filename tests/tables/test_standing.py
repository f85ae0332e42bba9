"""What was declared is ranked, what was found by looking is not; joined runs and older rules are named."""

import math

import pyarrow as pa
import pytest

from pgolf.stats.compare import RECORD_RULE, GainRule
from pgolf.tables.gates import RULESET
from pgolf.tables.parquet import rows_to_arrow
from pgolf.tables.ranked import found_by_looking, gains, legacy_scores, means, ranking, seeds_side_by_side
from pgolf.tables.schema import SCORES
from tests.score_rows import score_row

EXACT = {"estimator": "exact", "counts": "exact", "mixer": "backoff", "order": 5}
FOUND = {"declared": False, "declared_utc": None, "declared_before_scoring": False}
LATE = {"declared": True, "declared_utc": "2026-01-02T03:04:05+00:00", "declared_before_scoring": False}
OLDER = {"declared": None, "declared_utc": None, "declared_before_scoring": None}


def table_of(rows, run_key="r"):
    return rows_to_arrow(SCORES, [{"run_key": run_key, **row} for row in rows])


def joined(**runs):
    return pa.concat_tables(table_of(rows, key) for key, rows in runs.items())


def records(sheet):
    return [dict(zip((column.name for column in sheet.columns), row)) for row in sheet.rows]


def cell(alpha, bpb, seeds=(1, 2), **columns):
    return [score_row(**EXACT, alpha=alpha, seed=seed, bpb=bpb, loss_nats=2 * bpb, **columns) for seed in seeds]


@pytest.mark.parametrize(
    ("how", "standing"), [(FOUND, "no"), (LATE, "after scoring"), (OLDER, None)], ids=["found", "late", "older"]
)
def test_a_cell_that_was_not_declared_before_scoring_is_shown_below_the_declared_one_and_not_ranked(how, standing):
    table = table_of([*cell(0.2, 1.3), *cell(0.3, 1.1, **how)])
    assert [(row["rank"], row["alpha"]) for row in records(ranking(table))] == [(1, 0.2)]
    (shown,) = records(found_by_looking(table))
    assert (shown["alpha"], shown["declared"]) == (0.3, standing)
    notes = " ".join(found_by_looking(table).notes)
    assert "not ranked" in notes
    assert ("declared 2026-01-02 03:04:05 UTC, after scores" in notes) is (how is LATE)
    assert ("not recorded" in notes) is (how is OLDER)


def test_one_late_seed_takes_the_whole_scorer_out_of_the_ranking():
    table = table_of([*cell(0.2, 1.3, seeds=(1,)), *cell(0.2, 1.3, seeds=(2,), **LATE)])
    assert ranking(table).rows == ()
    assert [row["declared"] for row in records(found_by_looking(table))] == ["after scoring"]


def test_the_network_alone_is_ranked_whatever_was_recorded():
    assert len(ranking(table_of([score_row(**OLDER)])).rows) == 1


@pytest.mark.parametrize("top", [1, 2, 3])
def test_declared_cells_come_first_where_nothing_is_ranked(top):
    legacy = {"normalized": False}
    cells = [*cell(0.2, 1.3, **legacy), *cell(0.3, 1.1, **FOUND, **legacy), *cell(0.4, 1.2, **FOUND, **legacy)]
    assert [row["alpha"] for row in records(legacy_scores(table_of(cells), top=top))] == [0.2, 0.3, 0.4][:top]
    looked = [*cell(0.2, 1.3, **LATE), *cell(0.3, 1.1, **FOUND), *cell(0.4, 1.2, **FOUND)]
    assert [row["alpha"] for row in records(found_by_looking(table_of(looked), top=top))] == [0.2, 0.3, 0.4][:top]


def test_a_headline_that_was_declared_before_scoring_stays_so_when_its_scores_are_filed_under_another():
    first = [*cell(0.2, 1.3), *cell(0.3, 1.1, **FOUND)]
    second = [*cell(0.2, 1.3, **FOUND), *cell(0.3, 1.1, **LATE)]
    for runs in ({"a": first, "b": second}, {"b": first, "a": second}):
        table = joined(**runs)
        assert [row["alpha"] for row in records(ranking(table))] == [0.2]
        assert [row["alpha"] for row in records(found_by_looking(table))] == [0.3]


def test_a_grid_that_is_mixed_later_leaves_the_standing_of_a_score_as_it_was():
    later = {"started_utc": "2026-05-05T00:00:00+00:00"}
    table = joined(a=cell(0.2, 1.3), b=[*cell(0.2, 1.3, **FOUND, **later), *cell(0.3, 1.1, **LATE, **later)])
    assert [row["alpha"] for row in records(ranking(table))] == [0.2]
    rescored = joined(a=cell(0.2, 1.3), b=cell(0.2, 1.25, **FOUND, **later))
    assert ranking(rescored).rows == ()


def test_seeds_of_several_runs_are_named_with_their_runs():
    table = joined(x=cell(0.2, 1.3, seeds=(1, 7)), y=cell(0.2, 1.4, seeds=(42,)))
    assert "demo joins 2 runs: seeds 1, 7 from x; seed 42 from y" in ranking(table).notes
    assert records(ranking(table))[0]["runs"] == {"1": "x", "7": "x", "42": "y"}
    scorers = {"exact": {"estimator": "exact"}}
    assert "demo joins 2 runs: seeds 1, 7 from x; seed 42 from y" in means(table, scorers).notes
    assert [row["run_key"] for row in records(seeds_side_by_side(table, scorers))] == ["x", "x", "y"]
    assert not any("joins" in note for note in ranking(table_of(cell(0.2, 1.3))).notes)


def test_a_seed_that_was_scored_again_with_another_result_says_which_run_counts():
    again = cell(0.2, 1.4, seeds=(1,), started_utc="2026-01-01T00:00:00+00:00")
    table = joined(x=cell(0.2, 1.3, seeds=(1,)), y=again)
    assert "demo seed 1: the newest score counts, from y, not x" in ranking(table).notes
    same = joined(x=cell(0.2, 1.3, seeds=(1,)), y=cell(0.2, 1.3, seeds=(1,)))
    assert ranking(same).notes == ()


@pytest.mark.parametrize(
    ("rules", "said"), [("parameter-golf 2025-01-01", "parameter-golf 2025-01-01"), (None, "not recorded")]
)
def test_rows_that_were_judged_by_other_rules_say_which(rules, said):
    table = table_of(cell(0.2, 1.3, ruleset=rules))
    (note,) = ranking(table).notes
    assert said in note
    assert RULESET in note
    assert records(ranking(table))[0]["ruleset"] == rules
    judged_again = joined(a=cell(0.2, 1.3, ruleset=rules), A=cell(0.2, 1.3))
    assert ranking(judged_again).notes == ()


def test_a_rule_per_byte_tests_nats_per_byte():
    rule = GainRule(margin_nats=0.001, per="byte", p_below=0.01, source="here")
    rows = [score_row(seed=seed, bpb=1.3 + seed / 100, loss_nats=5.0) for seed in (1, 2)] + cell(0.2, 1.2)
    (row,) = records(gains(table_of(rows), rule=rule))
    assert row["gain_nats"] == pytest.approx((1.315 - 1.2) * math.log(2))
    (row,) = records(gains(table_of(rows), rule=RECORD_RULE))
    assert row["gain_nats"] == pytest.approx(5.0 - 2.4)


def test_a_test_says_which_of_its_cells_were_declared():
    rows = [score_row(seed=seed, bpb=1.5) for seed in (1, 2)] + cell(0.2, 1.3) + cell(0.3, 1.2, **FOUND)
    assert {row["alpha"]: row["declared"] for row in records(gains(table_of(rows)))} == {
        0.2: "before scoring",
        0.3: "no",
    }
