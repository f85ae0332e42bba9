"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from typing import Any

WITHIN_S = 150.0


def eventually(what: Callable[[], Any], said: str, *, within_s: float = WITHIN_S, every_s: float = 0.15) -> Any:
    """The first true value of `what`; fails with `said` when there is none in time."""
    deadline_s = time.monotonic() + within_s
    while not (value := what()):
        assert time.monotonic() < deadline_s, f"not within {within_s:.0f} s: {said}"
        time.sleep(every_s)
    return value
