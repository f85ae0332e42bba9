"""The moment of a declaration: now, and whatever the clock says later than all that it comes after."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta


def declared_when(declared: Iterable[datetime], scored: Iterable[datetime]) -> datetime:
    """Now; after a clock was set back, just later than what was declared and scored before."""
    earliest = [
        *(when + timedelta(microseconds=1) for when in declared),
        *(when + timedelta(seconds=1) for when in scored),  # of older records to the second
    ]
    return max([datetime.now(UTC), *earliest])
