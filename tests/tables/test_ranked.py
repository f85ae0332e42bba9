"""What people read: who may be ranked, which row of a seed counts, and means that carry n and std."""

import math

import pytest

from pgolf.errors import DataError, ResultsError
from pgolf.tables.gates import GATES
from pgolf.tables.parquet import rows_to_arrow
from pgolf.tables.ranked import NEURAL, gains, legacy_scores, means, ranking, scorer_means, seeds_side_by_side
from pgolf.tables.schema import SCORES, YES_NO
from tests.score_rows import score_row

EXACT = {"estimator": "exact", "counts": "exact", "mixer": "backoff", "order": 5, "alpha": 0.2}
HASHED = {"estimator": "hashed", "counts": "hashed", "mixer": "backoff", "order": 5, "alpha": 0.2}
SCORERS = {"neural": NEURAL, "exact": EXACT, "hashed": HASHED}


@pytest.fixture
def rows():
    """Three seeds of three scorers; the hashed one is far lower and no distribution."""
    made = []
    for seed, shift in ((1, 0.00), (2, 0.01), (3, 0.02)):
        made.append(score_row(seed=seed, bpb=1.20 + shift, loss_nats=2.00 + shift))
        made.append(score_row(seed=seed, bpb=1.19 + shift, loss_nats=1.98 + shift, **EXACT))
        legacy = {"normalized": False, "mass_mean": 200.0 + seed}
        made.append(score_row(seed=seed, bpb=0.90 + shift, loss_nats=1.50 + shift, **HASHED, **legacy))
    return made


def table_of(rows, run_key="r"):
    return rows_to_arrow(SCORES, [{"run_key": run_key, **row} for row in rows])


def records(sheet):
    return [dict(zip((column.name for column in sheet.columns), row)) for row in sheet.rows]


def test_scorers_stand_side_by_side_for_every_seed(rows):
    found = records(seeds_side_by_side(table_of(rows), SCORERS))
    assert [row["seed"] for row in found] == [1, 2, 3]
    assert [row["neural_bpb"] for row in found] == [1.20, 1.21, 1.22]
    assert [row["exact_bpb"] for row in found] == [1.19, 1.20, 1.21]
    assert [row["hashed_bpb"] for row in found] == [0.90, 0.91, 0.92]
    assert {row["fits_budget"] for row in found} == {True}


def test_a_legacy_column_is_called_legacy_below_the_table(rows):
    assert seeds_side_by_side(table_of(rows), SCORERS).notes[0].startswith("hashed: legacy")
    assert seeds_side_by_side(table_of(rows), {"neural": NEURAL, "exact": EXACT}).notes == ()


def test_a_network_that_learned_the_text_first_is_called_no_score_and_not_ranked(rows):
    for row in rows:
        row["causal"] = False
    for sheet in (seeds_side_by_side(table_of(rows), SCORERS), means(table_of(rows), SCORERS)):
        assert sheet.notes[-1].startswith("neural, exact, hashed: not a score, the network learned the text before")
    assert ranking(table_of(rows)).rows == ()
    assert ranking(table_of(rows)).notes == ("left out: 3 scorers (1 not normalized, 2 not causal)",)
    assert gains(table_of(rows)).rows == ()
    assert legacy_scores(table_of(rows)).notes[-1].startswith("demo: not a score")


def test_one_seed_whose_clocked_training_was_interrupted_keeps_its_scorers_out_and_the_reason_is_shown(rows):
    for row in rows[3:6]:  # all scorers of seed 2
        row["interrupted"] = True
    table = table_of(rows)
    assert ranking(table).rows == ()
    assert ranking(table).notes == ("left out: 3 scorers (1 not normalized, 2 interrupted)",)
    assert gains(table).rows == ()
    assert {row["uninterrupted"] for row in records(scorer_means(table))} == {False}
    for sheet in (seeds_side_by_side(table, SCORERS), means(table, SCORERS)):
        assert sheet.notes[-1].startswith("neural, exact, hashed: not ranked, a training that stops by the clock was")


@pytest.mark.parametrize("name", GATES)
def test_every_gate_is_a_column_and_one_seed_that_fails_it_keeps_a_scorer_out(rows, name):
    gate = GATES[name]
    assert SCORES.column(gate.column).type.equals(YES_NO)
    rows[4][gate.column] = gate.inverted  # seed 2 of the exact scorer
    ranked = ranking(table_of(rows))
    assert [row["estimator"] for row in records(ranked)] == ["neural"]
    assert gate.passed in ranked.title
    assert gate.failed in ranked.notes[0]
    shown = seeds_side_by_side(table_of(rows), {"exact": EXACT}).notes
    assert shown == ((f"exact: {gate.caution}",) if gate.caution else ())


def test_scores_of_programs_that_did_not_look_at_the_bytes_are_not_ranked_and_every_table_says_so(rows):
    for row in rows:
        del row["bytes_verified"]
    table = table_of(rows)
    assert ranking(table).rows == ()
    assert ranking(table).notes == ("left out: 3 scorers (1 not normalized, 2 bytes not verified)",)
    assert gains(table).rows == ()
    assert {row["bytes_verified"] for row in records(scorer_means(table))} == {False}
    for sheet in (seeds_side_by_side(table, SCORERS), means(table, SCORERS)):
        assert sheet.notes[-1].startswith("neural, exact, hashed: not ranked, nobody has verified that the bytes")
    assert legacy_scores(table).notes[-1].startswith("demo: not ranked, nobody has verified")


def test_what_normalization_drops_is_noted_below_every_table_from_a_thousandth_of_the_text_on(rows):
    for row, share in zip(rows, (0.22, 0.0004, 0.22)):
        row["dropped_share"] = share
    note = "demo: normalization drops 22.0% of the text's bytes, which no token holds; they count in bits/byte"
    table = table_of(rows)
    shown = (seeds_side_by_side(table, SCORERS), means(table, SCORERS), scorer_means(table), ranking(table))
    for sheet in (*shown, legacy_scores(table), gains(table)):
        assert (note in sheet.notes) == (sheet.title != "gain over the base"), sheet.title
    for row in rows:
        row["dropped_share"] = 0.0004
    assert means(table_of(rows), {"neural": NEURAL}).notes == ()
    assert len(ranking(table_of(rows)).notes) == 1


@pytest.mark.parametrize("verdict", [False, None])
def test_what_was_not_interrupted_or_made_before_anything_could_be_is_ranked(rows, verdict):
    for row in rows:
        row["interrupted"] = verdict
    assert [row["estimator"] for row in records(ranking(table_of(rows)))] == ["exact", "neural"]


def test_a_scorer_that_a_recipe_lacks_is_missing_and_not_zero(rows):
    found = records(seeds_side_by_side(table_of(rows), {"neural": NEURAL, "order 9": {**EXACT, "order": 9}}))
    assert [row["order_9_bpb"] for row in found] == [None] * 3


def test_settings_that_fit_several_scorers_are_refused(rows):
    rows.append(score_row(**{**EXACT, "alpha": 0.3}))
    with pytest.raises(ResultsError, match=r"exact: 2 scorers are estimator=exact, e\.g\. .*alpha=0\.2"):
        seeds_side_by_side(table_of(rows), {"exact": {"estimator": "exact"}})


def test_settings_that_are_none_are_refused(rows):
    with pytest.raises(ResultsError, match="did you mean order"):
        means(table_of(rows), {"exact": {"oder": 5}})
    with pytest.raises(ResultsError, match="bpb is a result"):
        means(table_of(rows), {"exact": {"bpb": 1.2}})


def test_a_mean_comes_with_n_and_sample_deviation(rows):
    found = {row["scorer"]: row for row in records(means(table_of(rows), SCORERS))}
    assert found["neural"]["n"] == 3
    assert found["neural"]["mean_bpb"] == pytest.approx(1.21)
    assert found["neural"]["std_bpb"] == pytest.approx(0.01)
    assert found["exact"]["mean_loss_nats"] == pytest.approx(1.99)
    assert found["hashed"]["normalized"] is False
    assert found["hashed"]["mass_mean"] == pytest.approx(202.0)


def test_one_seed_has_no_deviation(rows):
    found = records(means(table_of(rows[:3]), SCORERS))
    assert [(row["n"], row["std_bpb"], row["std_loss_nats"]) for row in found] == [(1, None, None)] * 3


def test_the_newest_row_of_a_seed_counts_once(rows):
    again = score_row(seed=1, bpb=1.30, started_utc="2025-12-02T00:00:00+00:00")
    older = score_row(seed=2, bpb=9.99, started_utc="2024-01-01T00:00:00+00:00")
    undated = score_row(seed=3, bpb=9.99, started_utc=None)
    import pyarrow as pa

    table = pa.concat_tables(
        [table_of(rows), *(table_of([row], key) for row, key in ((again, "s"), (older, "t"), (undated, "u")))]
    )
    found = records(seeds_side_by_side(table, {"neural": NEURAL}))
    assert [row["neural_bpb"] for row in found] == [1.30, 1.21, 1.22]
    assert records(means(table, {"neural": NEURAL}))[0]["n"] == 3


def test_seeds_of_another_configuration_are_no_part_of_the_mean(rows):
    rows += [score_row(recipe_key="b" * 64, seed=seed, bpb=2.0) for seed in (4, 5)]
    found = records(means(table_of(rows), {"neural": NEURAL}))
    assert [(row["recipe"], row["n"]) for row in found] == [("demo@aaaaaaaa", 3), ("demo@bbbbbbbb", 2)]


def test_only_normalized_causal_scores_within_budget_are_ranked(rows):
    sheet = ranking(table_of(rows))
    assert [(row["rank"], row["estimator"]) for row in records(sheet)] == [(1, "exact"), (2, "neural")]
    assert sheet.notes == ("left out: 1 scorers (1 not normalized)",)


@pytest.mark.parametrize("gate", ["normalized", "causal", "fits_budget"])
@pytest.mark.parametrize("verdict", [False, None])
def test_one_seed_that_fails_or_lacks_a_verdict_takes_the_whole_scorer_out(rows, gate, verdict):
    rows[4][gate] = verdict  # seed 2 of the exact scorer
    sheet = ranking(table_of(rows))
    assert [row["estimator"] for row in records(sheet)] == ["neural"]
    assert "left out: 2 scorers" in sheet.notes[0]


def test_a_missing_score_of_one_seed_is_no_mean_over_the_others(rows):
    rows[4]["bpb"] = None
    assert [row["estimator"] for row in records(ranking(table_of(rows)))] == ["neural"]
    found = {row["scorer"]: row for row in records(means(table_of(rows), SCORERS))}
    assert (found["exact"]["n"], found["exact"]["mean_bpb"]) == (3, None)


def test_a_ranking_shows_the_largest_artifact_of_the_seeds(rows):
    rows[0]["total_bytes"], rows[3]["total_bytes"] = 95_000, 80_000
    found = {row["estimator"]: row for row in records(ranking(table_of(rows)))}
    assert found["neural"]["largest_total_bytes"] == 95_000


def test_the_first_of_many_says_how_many_there_are(rows):
    sheet = ranking(table_of(rows), top=1)
    assert len(sheet.rows) == 1
    assert sheet.notes[0] == "the first 1 of 2 ranked scorers"
    assert scorer_means(table_of(rows), top=2).notes == ("the first 2 of 3 scorers",)


def test_legacy_scores_stand_apart_with_their_mass(rows):
    sheet = legacy_scores(table_of(rows))
    assert [(row["estimator"], row["mass_mean"]) for row in records(sheet)] == [("hashed", pytest.approx(202.0))]
    assert "not code lengths" in sheet.notes[-1]


def test_every_scorer_is_in_exactly_one_of_ranking_and_legacy_or_named_as_left_out(rows):
    table = table_of(rows)
    assert len(ranking(table).rows) + len(legacy_scores(table).rows) == len(scorer_means(table).rows)


def test_settings_get_a_column_only_where_they_tell_scorers_apart(rows):
    names = [column.name for column in ranking(table_of(rows)).columns]
    assert names[2:6] == ["estimator", "mixer", "order", "alpha"]
    assert "counts" not in names
    rows.append(score_row(**EXACT, min_count=3))
    assert "min_count" in [column.name for column in ranking(table_of(rows)).columns]


def test_gain_is_over_the_recipes_own_network_and_states_the_rule(rows):
    sheet = gains(table_of(rows))
    (row,) = records(sheet)
    assert row["estimator"] == "exact"
    assert row["gain_nats"] == pytest.approx(0.02)
    # Equal spreads of 0.01 over 3 seeds each: t = -(0.02 - 0.005) / (0.01 · sqrt(2 / 3)), df = 4.
    assert row["t"] == pytest.approx(-0.015 / (0.01 * math.sqrt(2 / 3)))
    assert row["df"] == pytest.approx(4.0)
    assert "0.005 nats per token" in sheet.notes[0]
    assert "README" in sheet.notes[1]


def test_paired_gain_sees_that_every_seed_gains_the_same(rows):
    rows[1]["loss_nats"] -= 1e-6
    (row,) = records(gains(table_of(rows), test="paired"))
    assert row["p"] < 1e-6


def test_pairs_need_the_same_seeds(rows):
    with pytest.raises(DataError, match="of which 3 are on one side only"):
        gains(table_of([row for row in rows if not (row["seed"] == 3 and row["estimator"] == "exact")]), test="paired")


def test_gain_over_another_recipe(rows):
    rows += [
        score_row(recipe="base", recipe_key="c", seed=seed, bpb=1.3, loss_nats=2.1 + seed / 100) for seed in (1, 2)
    ]
    found = records(gains(table_of(rows), {"recipe": "base", **NEURAL}))
    assert [(row["recipe"], row["estimator"], row["n"], row["base_n"]) for row in found] == [
        ("demo", "exact", 3, 2),
        ("demo", "neural", 3, 2),
    ]


def test_a_base_that_does_not_exist_is_refused(rows):
    with pytest.raises(ResultsError, match=r"no scorer is .*order=9"):
        gains(table_of(rows), {"order": 9})


def test_no_scores_make_empty_sheets():
    table = table_of([])
    for sheet in (ranking(table), legacy_scores(table), scorer_means(table), gains(table), means(table, SCORERS)):
        assert sheet.rows == ()
        assert sheet.columns
