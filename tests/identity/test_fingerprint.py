"""One canonical form per value, refused where there is none, and digests that cannot drift unnoticed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgolf.config import StageConfig
from pgolf.errors import ConfigError
from pgolf.identity.fingerprint import canonical, canonical_json, digest


class Inner(StageConfig):
    """A nested config."""

    rate: float = 0.1


class Outer(StageConfig):
    """A config with every plain kind of field."""

    name: str = "a"
    orders: tuple[int, ...] = (2, 3)
    inner: Inner = Inner()
    cap: float | None = None


def test_the_canonical_form_is_sorted_dense_ascii_json():
    assert canonical_json(Outer(name="é")) == ('{"cap":null,"inner":{"rate":0.1},"name":"\\u00e9","orders":[2,3]}')


def test_pinned_digest_so_that_no_key_changes_unnoticed():
    assert digest(Outer()) == "927fbe6a649565397119e6319770c96913ada32f306fab9d8ada93e6072a444b"


def test_order_of_a_mapping_does_not_matter_and_of_a_list_does():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_a_whole_number_written_for_a_float_field_is_the_same_value():
    assert digest(Inner.model_validate({"rate": 1})) == digest(Inner(rate=1.0))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "value is nan"),
        ({"x": float("inf")}, "value.x is inf"),
        ([Path("a")], r"value\[0\] is the path a"),
        ({1: 2}, "has the key 1 of type int"),
        ({"s": {1}}, "value.s is of type set"),
        (b"raw", "of type bytes"),
    ],
)
def test_a_value_without_a_stable_form_is_refused_by_name(value, says):
    with pytest.raises(ConfigError, match=says):
        canonical(value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(plain, plain)
def test_equal_digests_mean_equal_canonical_text(left, right):
    assert (digest(left) == digest(right)) == (canonical_json(left) == canonical_json(right))
