"""Timing of alternatives in turns, and the spread of repeated timings."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Summary of n repeated measurements."""

    n: int
    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarize the values."""
        return cls(len(values), min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return f"n={self.n}  min {self.least:.4g}  median {self.median:.4g}  max {self.most:.4g}"


def wall_s(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns_s(works: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Seconds [work][repeat], measured in turns, so that other load affects all of them equally."""
    rounds = [[wall_s(work) for work in works] for _ in range(repeats)]
    return [list(seconds) for seconds in zip(*rounds, strict=True)]


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Spread of above / below, turn by turn."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])
