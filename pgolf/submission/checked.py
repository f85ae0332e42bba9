"""What a check of a submission came to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """proves: what holds where it passed. passed: None where it was not judged. said: with numbers, for people.

    settles: what would judge it.
    """

    name: str
    proves: str
    passed: bool | None
    said: str
    wall_s: float | None = None
    settles: str = ""
