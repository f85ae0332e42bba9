"""Python values to Arrow columns."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.tables.columns import to_column
from pgolf.tables.schema import MOMENT, REAL, SECONDS_BY_PHASE, TEXT, WHOLE, YES_NO

words = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.just(UTC))
VALUES = {
    "text": (TEXT, words),
    "whole": (WHOLE, st.integers(-(2**63), 2**63 - 1)),
    "real": (REAL, finite),
    "yes or no": (YES_NO, st.booleans()),
    "moment": (MOMENT, moments),
    "seconds by phase": (
        SECONDS_BY_PHASE,
        st.dictionaries(words, finite, max_size=4).map(lambda d: dict(sorted(d.items()))),
    ),
}


@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
def test_columns_equal_those_pyarrow_makes(name, data):
    kind, values = VALUES[name]
    drawn = data.draw(st.lists(st.none() | values, max_size=20))
    column = to_column(drawn, kind)
    column.validate(full=True)
    oracle = [list(value.items()) if isinstance(value, dict) else value for value in drawn]
    assert column.equals(pa.array(oracle, type=kind))


def test_moments_are_the_same_in_any_time_zone_and_as_text():
    there = datetime(2025, 12, 1, 12, 30, tzinfo=timezone(timedelta(hours=3)))
    here = datetime(2025, 12, 1, 9, 30, tzinfo=UTC)
    column = to_column([there, here, "2025-12-01T09:30:00Z"], MOMENT)
    assert len(set(column.cast(pa.int64()).to_pylist())) == 1


def test_numpy_numbers_are_numbers():
    assert to_column([np.int32(3)], WHOLE).to_pylist() == [3]
    assert to_column([np.float32(0.5), 2, np.uint8(7)], REAL).to_pylist() == [0.5, 2.0, 7.0]
    assert to_column([np.True_], YES_NO).to_pylist() == [True]


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, WHOLE, "a whole number is expected, not bool"),
        (1.0, WHOLE, "a whole number is expected, not float"),
        (2**63, WHOLE, "does not fit in 64 bits"),
        (True, REAL, "a number is expected, not bool"),
        (float("nan"), REAL, "not finite is no result"),
        (1, YES_NO, "true or false is expected, not int"),
        (7, TEXT, "text is expected, not int"),
        ("\ud800", TEXT, "surrogates not allowed"),
        (datetime(2025, 12, 1), MOMENT, "no time zone"),
        (0, MOMENT, "a moment is expected, not int"),
        ("soon", MOMENT, "Invalid isoformat"),
        ([("load", 1.0)], SECONDS_BY_PHASE, "a mapping from phase to seconds is expected, not list"),
        ({"load": float("inf")}, SECONDS_BY_PHASE, "not finite is no result"),
    ],
)
def test_a_value_of_another_kind_is_named_by_its_place(value, kind, message):
    with pytest.raises(ValueError, match=f"value 1 is .*{message}"):
        to_column([None, value], kind)
