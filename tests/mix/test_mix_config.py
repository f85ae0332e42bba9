import pytest
from pydantic import ValidationError

from pgolf.mix.config import MixConfig


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"alphas": (0.1, 1.5)}, "less than or equal to 1"),
        ({"alphas": (0.1, 0.1)}, "alphas names a value twice"),
        ({"alphas": ()}, "mixer fixed needs at least one value in alphas"),
        ({"orders": (3, 2)}, r"write \(2, 3\)"),
        ({"orders": ()}, "at least 1 item"),
        ({"mixers": ("geometric",)}, "fixed"),
        ({"min_counts": (0,)}, "greater than or equal to 1"),
        ({"entropy_slopes": ()}, "at least one value in entropy_slopes"),
        ({"entropy_bases": (0.5,), "entropy_ranges": (0.6,)}, "weight above 1"),
        ({"entropy_thresholds": (float("nan"),)}, "finite"),
    ],
)
def test_a_grid_that_cannot_be_scored_is_refused_with_advice(fields, advice):
    with pytest.raises(ValidationError, match=advice):
        MixConfig(**fields)


def test_values_that_no_mixer_uses_are_not_needed():
    assert MixConfig(mixers=("adaptive",), alphas=()).alphas == ()
    assert MixConfig(mixers=("fixed",), entropy_bases=()).entropy_bases == ()
