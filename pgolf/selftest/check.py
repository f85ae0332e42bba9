"""What a check is: what it proves, the numbers that ranks measure, the verdict on them. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from pgolf.ranks.group import Ranks

# By whether a check passed; None: skipped or not judged.
MARKS = {True: "✓", False: "✗", None: "-"}
Numbers = Mapping[str, Any]  # what a rank measured, as JSON; units in the names


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank measures. folder: a temporary folder that all ranks share."""

    ranks: Ranks
    device: torch.device
    folder: Path


@dataclass(frozen=True, slots=True)
class Verdict:
    """passed (None: measured, not judged), and the numbers it follows from, with the limits they were held against."""

    passed: bool | None
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the table.

    measure: runs on every rank, all in the same order; what it returns is one rank's numbers. judge: a verdict from
    the numbers of all ranks, by rank; a pure function. limit_s: a rank that takes longer is ended, with a traceback
    of where it was. means, remedy: of a failure.
    """

    name: str
    proves: str
    measure: Callable[[Place], Numbers]
    judge: Callable[[Sequence[Numbers]], Verdict]
    means: str
    remedy: str
    needs_gpu: bool = False
    needs_ranks: bool = False
    limit_s: float = 60.0

    def cannot_run(self, *, on_gpu: bool, ranks: int) -> str | None:
        """Why it does not apply to this machine; None where it does."""
        if self.needs_gpu and not on_gpu:
            return "skipped: no GPU"
        if self.needs_ranks and ranks < 2:
            return "skipped: it takes two ranks, and there is one device"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A check's result. passed: None if it was skipped or not judged. numbers: of every rank. means, remedy: of a
    failure.
    """

    name: str
    proves: str
    passed: bool | None
    said: str
    numbers: Sequence[Numbers] = ()
    wall_s: float | None = None
    means: str = ""
    remedy: str = ""


def worst(by_rank: Sequence[Numbers], of: str, limit: str) -> tuple[int, float]:
    """The rank whose number is largest in units of its limit, and that ratio; what is not a number is largest."""
    ratios = [numbers[of] / numbers[limit] for numbers in by_rank]
    rank = max(range(len(ratios)), key=lambda i: (ratios[i] != ratios[i], ratios[i]))
    return rank, ratios[rank]
