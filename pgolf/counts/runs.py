"""Cut the records into runs for counting: what is looked up, what is added then, where the tables start empty."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgolf.counts.config import VisibleConfig
from pgolf.eval.windows import WindowPlan, plan_windows

# Records the tables advance over at a time. What a run has touched of one order's table is still in a cache of some
# 10 MB when the next order reads it.
RUN_RECORDS = 1 << 16

# Documents never meet, so their tables are emptied after this many records or the next document's end: it bounds them.
DOCUMENTS_RECORDS = 1 << 22


@dataclass(frozen=True, slots=True)
class Run:
    """Records first .. last - 1: whole segments, or one piece of a long one (look_up first, add later).

    segment_ends: rising; segment s is records segment_ends[s - 1] .. segment_ends[s] - 1, counted from `first`.
    fresh: the tables are emptied before it.
    """

    first: int
    last: int
    segment_ends: npt.NDArray[np.int64]
    look_up: bool
    add: bool
    fresh: bool


def plan_of(config: VisibleConfig, targets: int) -> WindowPlan:
    """The windows whose records are counted."""
    return plan_windows(targets, window=config.window, stride=config.stride, ranks=config.ranks, tail=config.tail)


def histories(plan: WindowPlan, start_D: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(rank, first, last) records that are counted together, in order: a rank's, or some of its whole documents.

    start_D: where documents start in the stream, ascending; empty where counts go on from one to the next.
    """
    found = []
    for rank in range(plan.ranks):
        own = plan.records_of(rank)
        if len(own) == 0:
            continue
        first = own.start
        if len(start_D):
            first_target = int(plan.targets_of_records(first, first + 1)[0])
            # Behind the first token of a document, whose own context is the document before. The last targets may come
            # again, so no border lies among them; before them records follow their targets.
            borders = start_D[(start_D >= first_target) & (start_D < plan.targets - plan.stride)] + 1
            for border in (borders - first_target + own.start).tolist():
                if border - first >= DOCUMENTS_RECORDS and border < own.stop:
                    found.append((rank, first, border))
                    first = border
        found.append((rank, first, own.stop))
    return found


def runs_of(config: VisibleConfig, plan: WindowPlan, start_D: npt.NDArray[np.int64]) -> Iterator[Run]:
    """Cut the records of every history into runs of at most RUN_RECORDS, in order. start_D: as `histories`.

    A segment longer than that is looked up in pieces, then added in pieces. A segment over the border of two histories
    is cut there: what one side sees does not depend on the other.
    """
    run_records = RUN_RECORDS
    for rank, start, stop in histories(plan, start_D):
        first = start
        while first < stop:
            ends = np.minimum(_segment_ends(config, plan, rank, first, run_records), stop)
            ends = ends[: int(np.searchsorted(ends, stop)) + 1]
            last = int(ends[-1])
            if last - first <= run_records:
                yield Run(first, last, ends - first, look_up=True, add=True, fresh=first == start)
            else:
                for look_up in (True, False):
                    for begin in range(first, last, run_records):
                        end = min(begin + run_records, last)
                        fresh = look_up and begin == start
                        yield Run(begin, end, np.array([end - begin]), look_up=look_up, add=not look_up, fresh=fresh)
            first = last


def _segment_ends(
    config: VisibleConfig, plan: WindowPlan, rank: int, first: int, run_records: int
) -> npt.NDArray[np.int64]:
    """Ends of the segments after record `first`; at least the next one, and else those up to run_records on."""
    own = plan.records_of(rank)
    if config.granularity == "segment":
        ends = plan.first_record[plan.rank_bounds[rank] + 1 : plan.rank_bounds[rank + 1] + 1]
        begin = int(np.searchsorted(ends, first, side="right"))
        stop = int(np.searchsorted(ends, first + run_records, side="right"))
        return ends[begin : max(stop, begin + 1)]
    # A border of documents may lie inside a group; the groups go on from where the rank began.
    into = (first - own.start) % config.granularity
    segments = max(1, run_records // config.granularity)
    return np.minimum(first - into + config.granularity * np.arange(1, segments + 1), own.stop)
