"""What a difference of two keys is called: new, gone or changed, whichever part of the key it is in."""

import pytest

from pgolf.store.differences import changed_fields, differences


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({"inputs": {"documents": "a"}}, {"inputs": {"documents": "b"}}, ["input documents changed"]),
        ({"inputs": {"documents": "a"}}, {"inputs": {}}, ["input documents gone"]),
        ({"inputs": {}}, {"inputs": {"hints.hints": "a"}}, ["input hints.hints new"]),
        (
            {"inputs": {"counts.hashed.counts": "a", "trace.trace": "t"}},
            {"inputs": {"counts.exact.counts": "b", "trace.trace": "u"}},
            ["input counts.exact.counts new", "input counts.hashed.counts gone", "input trace.trace changed"],
        ),
        ({"code": {"a.b": "1", "a.c": "1"}}, {"code": {"a.c": "2"}}, ["code: a/b.py gone", "code: a/c.py changed"]),
    ],
)
def test_an_input_that_is_gone_is_not_called_changed(before, after, says):
    assert differences(before, after) == says


def test_a_field_that_only_one_has_is_named_where_no_other_differs():
    old, new = {"a": {"b": 1}, "c": 2, "limit": None}, {"a": {"b": 1}, "c": 3}
    assert changed_fields(old, new) == ["c 2 → 3"]
    assert changed_fields(old, {"a": {"b": 1}, "c": 2, "d": None}) == ["d new", "limit gone"]
    assert changed_fields(old, old) == []
