"""Choosing rows by column values."""

import pyarrow as pa
import pytest

from pgolf.errors import ResultsError
from pgolf.tables.filters import fitting, parse_conditions, select
from pgolf.tables.parquet import append, read, rows_to_arrow
from pgolf.tables.schema import SCORES, STAGES
from tests.score_rows import score_row


@pytest.fixture
def table():
    rows = [
        score_row(seed=1),
        score_row(seed=2),
        score_row(seed=1, estimator="exact", mixer="fixed", order=3, alpha=0.25),
        score_row(seed=1, estimator="hashed", mixer="fixed", order=3, alpha=0.25, normalized=False),
        score_row(seed=3, estimator="hashed", mixer="backoff", order=5, normalized=None),
    ]
    return rows_to_arrow(SCORES, [{**row, "run_key": "r"} for row in rows])


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"seed": 1}, [0, 2, 3]),
        ({"seed": [1, 3]}, [0, 2, 3, 4]),
        ({"seed": 1, "estimator": "exact"}, [2]),
        ({"normalized": True}, [0, 1, 2]),
        ({"normalized": False}, [3]),
        ({"normalized": None}, [4]),
        ({"mixer": [None, "backoff"]}, [0, 1, 4]),
        ({"alpha": 0.25}, [2, 3]),
        ({"estimator": "unheard of"}, []),
        ({"seed": []}, []),
    ],
)
def test_rows_match_all_columns_and_any_of_their_values(table, where, rows):
    chosen = select(table, SCORES, where)
    assert chosen.equals(table.take(pa.array(rows, pa.int64())))


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        (["seed=1,3", "estimator = hashed", "normalized=false", "normalized=null"], [3, 4]),
        (["alpha=0.25", "order>=3"], [2, 3]),
        (["order<5"], [2, 3]),  # a missing order is neither more nor less
        (["order>3"], [4]),
        (["seed!=1"], [1, 4]),
        (["alpha!=null"], [2, 3]),
        (["normalized=YES", "mixer=fixed"], [2]),
        (["estimator<exactly", "seed<=1"], [2]),
        (["started_utc>2001-01-01T00:00:00+00:00", "seed=2"], [1]),
        (["started_utc<2001-01-01T00:00:00+00:00"], []),
        (["started_utc>2001-01-01", "seed=2"], [1]),  # in UTC, as the column is
        (["started_utc<2001-01-01 12:00"], []),
    ],
)
def test_conditions_as_typed_choose_rows(table, texts, rows):
    assert fitting(table, SCORES, parse_conditions(texts)).equals(table.take(pa.array(rows, pa.int64())))


def test_a_condition_on_a_setting_is_told_by_its_dot():
    equal, less = parse_conditions(["model.gated_attention=false", "train.muon_lr<=0.02"])
    assert (equal.is_of_setting, less.is_of_setting) == (True, True)
    assert [equal.holds(value) for value in (False, True, None)] == [True, False, False]
    assert [less.holds(value) for value in (0.02, 0.021)] == [True, False]
    (words,) = parse_conditions(["compress.codec!=zstd,xz"])
    assert [words.holds(value) for value in ("zstd", "xz", "rans")] == [False, False, True]
    assert not less.holds(None)  # as a missing value of a column
    with pytest.raises(ResultsError, match=r"train\.muon_lr is 'fast', which is not more or less"):
        less.holds("fast")
    (nothing,) = parse_conditions(["train.muon_lr<null"])
    with pytest.raises(ResultsError, match=r"filter train\.muon_lr<null: nothing is more or less"):
        nothing.holds(0.5)


@pytest.mark.parametrize(
    ("text", "holds", "fails"),
    [
        ("mix.alphas=[0.4,0.5]", [[0.4, 0.5]], [[0.4], 0.4, None]),
        ("mix.alphas=[0.4],[0.5, 0.6]", [[0.4], [0.5, 0.6]], [[0.4, 0.5], [0.6]]),
        ("mix.alphas!=[0.4]", [[0.5], None], [[0.4]]),
        ("train.clock_limit_s=null,600", [None, 600.0], [599.0]),
        ("data.name=[draft,x", ["[draft", "x"], ["draft"]),
        ("mix.alphas=0.4,0.5", [[0.4, 0.5], 0.4, 0.5], [[0.4], [0.5, 0.4], None]),
        ("mix.alphas=0.4", [[0.4], 0.4], [[0.4, 0.5]]),
        ("mix.mixers!=fixed,backoff", [["fixed"]], [["fixed", "backoff"], "fixed"]),
        ("train.clock_limit_s=none", [None, "none"], [600.0]),
        ("train.clock_limit_s!=none", [600.0], [None]),
        ("tokenize.name=a, b", ["a, b", "a", "b"], ["c"]),
        ('tokenize.name="a, b"', ["a, b"], ["a"]),
    ],
)
def test_a_list_is_one_value(text, holds, fails):
    (condition,) = parse_conditions([text])
    assert all(map(condition.holds, holds))
    assert not any(map(condition.holds, fails))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "has no '='"),
        ("", "has no '='"),
        ("sed=1", "did you mean seed"),
        ("seed=one", "column seed holds int64"),
        ("seed<one", "column seed holds int64"),
        ("seed<1,2", "column seed holds int64"),
        ("alpha<null", "nothing is more or less"),
        ("alpha<=", "filter alpha<=: column alpha holds double"),
        ("alpha<inf", "filter alpha<inf: column alpha holds double"),
        ("alpha>=nan", "filter alpha>=nan: column alpha holds double"),
        ("started_utc>yesterday", "filter started_utc>yesterday: column started_utc holds timestamp"),
        ("normalized=perhaps", "column normalized holds bool"),
    ],
)
def test_text_that_is_no_condition_is_refused(table, text, message):
    with pytest.raises(ResultsError, match=message):
        fitting(table, SCORES, parse_conditions([text]))


def test_a_map_cannot_be_filtered_by(tmp_path):
    with pytest.raises(ResultsError, match="cannot be filtered by"):
        fitting(read(tmp_path, STAGES), STAGES, parse_conditions(["phases_s=1"]))


def test_a_value_of_another_type_is_refused(table):
    with pytest.raises(ResultsError, match="column seed holds int64, not 'one'"):
        select(table, SCORES, {"seed": "one"})


def test_reading_applies_the_filter_to_columns_not_asked_for(tmp_path):
    append(tmp_path, SCORES, "r", [score_row(seed=1), score_row(seed=2)])
    assert read(tmp_path, SCORES, {"seed": 2}, columns=["bpb"]).num_rows == 1


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        *(("recipe=demo alphas=0.4,0.51", [1]), ('recipe="demo alphas=0.4,0.51"', [1]), ("recipe=other,demo", [2, 3])),
        ("recipe!=demo alphas=0.4,0.51", [2, 3]),
    ],
)
def test_a_name_with_commas_can_be_written(text, seeds):
    names = ["demo alphas=0.4,0.51", "demo", "other"]
    rows = [{**score_row(recipe=name, seed=seed), "run_key": "r"} for seed, name in enumerate(names, 1)]
    found = fitting(rows_to_arrow(SCORES, rows), SCORES, parse_conditions([text]))
    assert found.column("seed").to_pylist() == seeds
