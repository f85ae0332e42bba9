"""Choosing rows by column values."""

import pyarrow as pa
import pytest

from pgolf.errors import ResultsError
from pgolf.tables.filters import parse_filters, select
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


def test_filters_as_typed_select_as_filters_in_python(table):
    where = parse_filters(SCORES, ["seed=1,3", "estimator = hashed", "normalized=false", "normalized=null"])
    assert where == {"seed": [1, 3], "estimator": ["hashed"], "normalized": [False, None]}
    assert select(table, SCORES, where).column("seed").to_pylist() == [1, 3]


def test_every_type_of_column_can_be_typed():
    texts = ["alpha=0.5", "order=5", "causal=YES", "recipe=a b", "started_utc=2025-12-01T10:00:00+00:00"]
    where = parse_filters(SCORES, texts)
    assert where["alpha"] == [0.5]
    assert where["causal"] == [True]
    assert where["recipe"] == ["a b"]
    assert where["started_utc"][0].year == 2025


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "has no '='"),
        ("sed=1", "did you mean seed"),
        ("seed=one", "column seed holds int64"),
        ("normalized=perhaps", "column normalized holds bool"),
    ],
)
def test_text_that_is_no_filter_is_refused(text, message):
    with pytest.raises(ResultsError, match=message):
        parse_filters(SCORES, [text])


def test_a_map_cannot_be_filtered_by():
    with pytest.raises(ResultsError, match="cannot be filtered by"):
        parse_filters(STAGES, ["phases_s=1"])


def test_a_value_of_another_type_is_refused(table):
    with pytest.raises(ResultsError, match="column seed holds int64, not 'one'"):
        select(table, SCORES, {"seed": "one"})


def test_reading_applies_the_filter_to_columns_not_asked_for(tmp_path):
    append(tmp_path, SCORES, "r", [score_row(seed=1), score_row(seed=2)])
    assert read(tmp_path, SCORES, {"seed": 2}, columns=["bpb"]).num_rows == 1
