"""Pairs of timings in one process, and how a benchmark prints them."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from os import sched_getaffinity

from pgolf.hardware import cpu_name


@dataclass(frozen=True, slots=True)
class Spread:
    """n repetitions of one number."""

    n: int
    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Spread of the values."""
        return cls(len(values), min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return f"n={self.n}  min {self.least:.4g}  median {self.median:.4g}  max {self.most:.4g}"


@dataclass(frozen=True, slots=True)
class Line:
    """One measured quantity; `target` is what is asked of its median."""

    name: str
    unit: str
    spread: Spread
    target: str = ""


def wall_s(work: Callable[[], object]) -> float:
    """Seconds one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired_s(plain: Callable[[], object], ours: Callable[[], object], repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of both, taken in turns, so that another process on the machine disturbs both alike."""
    seconds = [(wall_s(plain), wall_s(ours)) for _ in range(repeats)]
    return [pair[0] for pair in seconds], [pair[1] for pair in seconds]


def arguments(description: str, repeats: int) -> argparse.Namespace:
    """Command line of a benchmark: --json and --repeats."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=repeats, help="timings per quantity (default: %(default)s)")
    return parser.parse_args()


def show(title: str, lines: Sequence[Line], *, as_json: bool) -> None:
    """Print the lines with the machine they were taken on and the date."""
    device = f"{cpu_name()}, {len(sched_getaffinity(0))} cores"
    date = datetime.now(UTC).date().isoformat()
    if as_json:
        print(json.dumps({"title": title, "device": device, "date": date, "lines": [asdict(line) for line in lines]}))
        return
    print(f"{title}\n{device}, {date}")
    width = max(len(line.name) for line in lines)
    for line in lines:
        target = f"  (target {line.target})" if line.target else ""
        print(f"  {line.name:<{width}}  {line.spread}  {line.unit}{target}")
