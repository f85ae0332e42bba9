"""The sliding-window plan, shared by scoring and counting: which targets each window scores, in which order.

Indices: a stream x[0..N] holds N targets. The *position* p = 0..N-1 is read, the *target* j = p + 1 is predicted there.
Arrays are int64.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pgolf.errors import ConfigError, DataError

Tail = Literal["once", "repeat"]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """The windows of an evaluation in order, and the scored part of each.

    Window k reads positions start[k] .. end[k] - 1 and scores positions score_from[k] .. end[k] - 1, that is
    targets score_from[k] + 1 .. end[k]; this scored part is the window's *segment*, never empty.
    Rank r runs windows rank_bounds[r] .. rank_bounds[r + 1] - 1 in ascending order.
    first_record[k] is the number of records before window k; its last entry is the total number of records.
    Shapes for W windows and R ranks: start, end, score_from [W]; first_record [W + 1]; rank_bounds [R + 1].
    """

    targets: int
    window: int
    stride: int
    ranks: int
    tail: Tail
    start: Int64Array
    end: Int64Array
    score_from: Int64Array
    first_record: Int64Array
    rank_bounds: Int64Array

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(self.start)

    @property
    def records(self) -> int:
        """Number of scored targets; more than `targets` only if the tail is repeated."""
        return int(self.first_record[-1])

    def records_of(self, rank: int) -> range:
        """Record numbers of one rank: its rows in a trace or a count table."""
        first, last = self.rank_bounds[rank], self.rank_bounds[rank + 1]
        return range(int(self.first_record[first]), int(self.first_record[last]))

    def record_targets(self, first_window: int = 0, last_window: int | None = None) -> Int64Array:
        """Target index j of every record of windows first_window .. last_window - 1 (default: all), in order."""
        own = slice(first_window, last_window)
        lengths = self.end[own] - self.score_from[own]
        before = self.first_record[:-1][own] - self.first_record[first_window]
        return np.repeat(self.score_from[own] + 1 - before, lengths) + np.arange(lengths.sum())

    def targets_of_records(self, first: int, last: int) -> Int64Array:
        """Target index j of records first .. last - 1, in order."""
        first_window = int(np.searchsorted(self.first_record, first, side="right")) - 1
        last_window = int(np.searchsorted(self.first_record, last, side="left"))
        offset = first - int(self.first_record[first_window])
        return self.record_targets(first_window, last_window)[offset : offset + last - first]


def plan_windows(targets: int, *, window: int, stride: int, ranks: int = 1, tail: Tail = "once") -> WindowPlan:
    """Lay sliding windows over a stream of targets + 1 tokens.

    Windows start at 0, stride, 2·stride, … below `targets`. The first scores everything it reads, every other its last
    `stride` positions, so a target has at least window - stride tokens of context once the stream is that long.
    Ranks take contiguous shares floor(W·r/R) of these windows.

    tail="repeat" does what the published evaluations do at the end: windows that would reach beyond the stream are
    truncated, and each scores the same last `stride` positions again (31 repeats at 2048/64). tail="once" scores every
    target exactly once, in order: segments drop what an earlier window scored, and windows left empty are removed
    *after* assigning ranks, so that rank bounds are those of the published evaluations.

    Raises ConfigError for sizes that leave gaps, DataError for an empty stream.
    Source: eval_val_sliding of openai/parameter-golf PR #715.
    """
    if stride < 1 or window < stride or ranks < 1:
        raise ConfigError(
            f"window {window}, stride {stride}, ranks {ranks}: need 1 <= stride <= window and ranks >= 1, "
            "or some targets would never be scored"
        )
    if targets < 1:
        raise DataError(f"the validation stream has {targets} targets; it needs at least one (two tokens)")
    start = np.arange(0, targets, stride, dtype=np.int64)
    end = np.minimum(start + window, targets)
    score_from = np.maximum(end - stride, start)
    score_from[0] = 0
    rank_bounds = len(start) * np.arange(ranks + 1, dtype=np.int64) // ranks
    if tail == "once":
        score_from[1:] = np.maximum(score_from[1:], end[:-1])
        kept = np.flatnonzero(score_from < end)
        # `end` never decreases, so the windows with nothing new are the last ones.
        rank_bounds = np.minimum(rank_bounds, len(kept))
        start, end, score_from = start[kept], end[kept], score_from[kept]
    first_record = np.concatenate([np.zeros(1, np.int64), np.cumsum(end - score_from)])
    return WindowPlan(targets, window, stride, ranks, tail, start, end, score_from, first_record, rank_bounds)
