import pytest
from pydantic import ValidationError

from pgolf.counts.config import CountConfig
from pgolf.errors import ConfigError


def test_defaults_are_those_of_pr_761():
    config = CountConfig()
    assert (config.orders, config.buckets, config.primes) == ((2, 3, 4, 5, 6, 7), 4_194_304, "pr761")
    assert (config.window, config.stride, config.ranks, config.granularity) == (2048, 64, 8, "segment")


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"orders": (3, 2)}, r"write \(2, 3\)"),
        ({"orders": (2, 2)}, r"write \(2,\)"),
        ({"orders": ()}, "at least 1 item"),
        ({"orders": (1, 2)}, "greater than or equal to 2"),
        ({"orders": (18,)}, "less than or equal to 17"),
        ({"window": 32, "stride": 64}, "targets would be left out"),
        ({"buckets": 1000}, "the next ones are 512 and 1,024"),
        ({"scope": "chapter"}, "'global' or 'document'"),
        ({"delay_targets": -1}, "greater than or equal to 0"),
        ({"granularity": 0}, "greater than or equal to 1"),
        ({"estimator": "exact", "buckets": 1024}, "buckets belongs to the hashed estimator"),
        ({"estimator": "exact", "primes": "pr715"}, "primes belongs to the hashed estimator"),
    ],
)
def test_what_cannot_be_counted_is_refused_with_advice(fields, advice):
    with pytest.raises(ValidationError, match=advice):
        CountConfig(**fields)


@pytest.mark.parametrize("fields", [{"scope": "document"}, {"delay_targets": 3}])
def test_hashed_tables_refuse_documents_and_delays(fields):
    with pytest.raises(ConfigError, match="belongs to exact counts"):
        CountConfig(**fields).of("hashed")
    exact = CountConfig(**fields).of("exact")
    assert (exact.scope, exact.delay_targets) == (fields.get("scope", "global"), fields.get("delay_targets", 0))
