"""Exact n-gram counts of all orders in one structure of interned n-grams.

Every n-gram that occurs has one number, its *id*, found from the ids of its two parts, in the simplest case those of
its first n - 1 tokens and its last token. So the entry that counts an n-gram is also the context of the next order's
target, one probe of a table gives both, and c(context) rises in the same step as c(context, a): the sum over a of
c(context, a) is c(context) at any moment, by construction. No two n-grams share an entry, whatever order or vocabulary.

Interning alone shows nowhere: an n-gram that was never added has the counts of one that was never interned. Hence the
ids of a whole run are found ahead of its segments, each table's many cache misses at a time.

Shapes: T records of a run, P positions it reads (its targets and the tokens before them), S slots of a table, Q records
that wait to become visible, then those of the run.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt

from pgolf.counts.config import VisibleConfig
from pgolf.counts.runs import Run, histories, runs_of
from pgolf.eval.windows import WindowPlan

# Of a table when every n-gram that could come has come and all differ.
MAX_LOAD = 0.8
# Slots looked for before the first of them is read: enough for the core to wait for many of them at once.
BLOCK = 64

# Columns of an entry: its two parts, LEFT = 0 for a free slot, then those of its length's counters that are needed: as
# an n-gram (1), as a context (1), the context's hint and its count (2).
LEFT = 0
RIGHT = 1

Uint32Array = npt.NDArray[np.uint32]


def parts_of(orders: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Length -> lengths of its left and right part, for all lengths whose ids these orders need, ascending.

    An order's n-gram is its context and one token; a context is the longest one known and what it lacks, or two halves.
    """
    parts = {1: (0, 1)}

    def need(length: int) -> None:
        if length in parts:
            return
        longest = max(known for known in parts if known < length)
        if length - longest not in parts:
            longest = -(-length // 2)
            need(length - longest)
            need(longest)
        parts[length] = (longest, length - longest)

    for order in sorted(orders):
        need(order - 1)
        need(order)
    return dict(sorted(parts.items()))


@dataclass(frozen=True, slots=True)
class Seen:
    """What the records of a run get to see, [O, T]; hint: the context's most frequent token so far, -1 without one.

    count: of the n-gram, or of the context with its hint where hints are taken.
    """

    context: Uint32Array
    count: Uint32Array
    hint: npt.NDArray[np.int32]


@dataclass(slots=True)
class _Stretch:
    """One run on its way through the lengths."""

    run: Run
    place: npt.NDArray[np.int64]  # position of each record's target
    token: Uint32Array  # token + 1, since 0 is the id of nothing
    document: Uint32Array  # number of the document, from 1; 1 throughout for global counts
    starts: npt.NDArray[np.bool_]
    seen: Seen
    ids: dict[int, Uint32Array] = field(default_factory=dict)
    steps: list[Future[None]] = field(default_factory=list)


class _Level:
    """The n-grams of one length: their table, and those of that order which no target may see yet."""

    def __init__(self, length: int, parts: tuple[int, int], slots: int, counters: tuple[bool, int]) -> None:
        self.length = length
        self.left, self.right = parts
        counted, context_counters = counters
        self.count_column = RIGHT + 1
        self.context_column = RIGHT + 1 + counted
        self.table = np.zeros((slots, RIGHT + 1 + counted + context_counters), np.uint32)
        self.used = False

    def wait(self, context_Q: Uint32Array, full_Q: Uint32Array, first: int) -> None:
        """Keep the ids of records `first`, first + 1, …."""
        self.waiting_context, self.waiting_full, self.waiting_first = context_Q, full_Q, first

    def clear(self) -> None:
        """Forget everything."""
        if self.used:  # a new table costs its pages when they are first touched
            self.table.fill(0)
        self.used = True
        self.wait(np.empty(0, np.uint32), np.empty(0, np.uint32), 0)


def exact_runs(
    config: VisibleConfig,
    plan: WindowPlan,
    tokens: npt.NDArray[np.uint16],
    *,
    bos_id: int | None = None,
    hints: bool = False,
    threads: int = 1,
) -> Iterator[tuple[Run, Seen]]:
    """Count a stream of N + 1 tokens; yield every run with what its records get to see.

    bos_id: the token that starts a document, for counts of documents. hints: see `Seen`.
    """
    start_D = np.empty(0, np.int64)
    if config.scope == "document":
        assert bos_id is not None
        start_D = np.flatnonzero(tokens == bos_id)
    room = max(last - first for _, first, last in histories(plan, start_D))
    counts = ExactCounts(config, tokens, start_D, room=room, hints=hints)
    runs = runs_of(config, plan, start_D)
    yield from counts.advance(((run, plan.targets_of_records(run.first, run.last)) for run in runs), threads=threads)


class ExactCounts:
    """Exact counts of some orders, uint32."""

    def __init__(
        self,
        config: VisibleConfig,
        tokens: npt.NDArray[np.uint16],
        start_D: npt.NDArray[np.int64],
        *,
        room: int,
        hints: bool = False,
    ) -> None:
        """tokens: the whole stream, N + 1 ids. start_D: where its documents start, ascending; empty: global counts.

        room: the most records from one fresh run to the next; the tables are made for them. hints: keep each context's
        most frequent token.
        """
        self._config = config
        self._tokens = tokens
        self._document_starts = start_D
        self._hints = hints
        self._row = {order: row for row, order in enumerate(config.orders)}
        self._lead = config.orders[-1] - 1
        self._room = room
        grams = room + self._lead
        ids = int(tokens.max()) + 1
        self._levels = [
            _Level(
                length,
                parts,
                int((grams if len(start_D) else min(grams, ids**length)) / MAX_LOAD) + 2,
                (length in self._row, (3 if hints else 1) if length + 1 in self._row else 0),
            )
            for length, parts in parts_of(config.orders).items()
        ]
        self._level = {level.length: level for level in self._levels}

    def advance(self, runs: Iterable[tuple[Run, npt.NDArray[np.int64]]], *, threads: int) -> Iterator[tuple[Run, Seen]]:
        """Take runs, each with its records' targets, in order; yield what the records of each get to see.

        A run passes through the lengths one after the other, and the next run follows one length behind: threads work
        on different tables, and nothing depends on how many there are.
        """
        under_way: deque[_Stretch] = deque()
        with ThreadPoolExecutor(max(1, threads), thread_name_prefix="exact") as pool:
            for run, target_T in runs:
                if run.fresh:
                    # Tables are emptied when nobody reads them.
                    while under_way:
                        yield from self._push(pool, under_way, keep=0)
                under_way.append(self._stretch(run, target_T))
                # Two more than there are lengths, so that threads have work while the caller has the oldest.
                yield from self._push(pool, under_way, keep=len(self._levels) + 2)
            while under_way:
                yield from self._push(pool, under_way, keep=0)

    def _push(self, pool: ThreadPoolExecutor, under_way: deque[_Stretch], *, keep: int) -> Iterator[tuple[Run, Seen]]:
        """Send every run one length on, then hand out finished ones while more than `keep` are under way."""
        before = None
        for stretch in under_way:
            number = len(stretch.steps)
            if number < len(self._levels):
                # Always of a push before this one, so no task waits for a later one in the pool's queue.
                needs = stretch.steps[-1:] + ([before.steps[number]] if before else [])
                stretch.steps.append(pool.submit(self._step, self._levels[number], stretch, needs))
            before = stretch
        while under_way and len(under_way[0].steps) == len(self._levels) and len(under_way) > keep:
            under_way[0].steps[-1].result()
            done = under_way.popleft()
            yield done.run, done.seen

    def _stretch(self, run: Run, target_T: npt.NDArray[np.int64]) -> _Stretch:
        base = max(0, int(target_T.min()) - self._lead)
        stop = int(target_T.max()) + 1
        # The compiled loops check no bounds. A history's targets have no gaps, so it holds no more positions than
        # records; a run of it may, where it ends among targets that come again.
        assert len(target_T) == run.last - run.first == run.segment_ends[-1]
        assert 0 <= base < stop <= len(self._tokens)
        assert stop - int(target_T.min()) <= self._room
        start_P = np.zeros(stop - base, np.bool_)
        first, last = np.searchsorted(self._document_starts, (base, stop))
        start_P[self._document_starts[first:last] - base] = True
        shape = (len(self._row), len(target_T))
        return _Stretch(
            run,
            target_T - base,
            self._tokens[base:stop].astype(np.uint32) + np.uint32(1),
            (np.cumsum(start_P) + (int(np.searchsorted(self._document_starts, base)) + 1)).astype(np.uint32),
            start_P,
            Seen(
                np.zeros(shape, np.uint32),
                np.zeros(shape, np.uint32),
                np.full(shape if self._hints else (shape[0], 0), -1, np.int32),
            ),
        )

    def _step(self, level: _Level, stretch: _Stretch, needs: Sequence[Future[None]]) -> None:
        """Intern the run's n-grams of one length, and count them where that is an order."""
        for need in needs:
            need.result()
        if stretch.run.fresh:
            level.clear()
        id_P = np.zeros(len(stretch.token), np.uint32)
        _intern(
            stretch.ids[level.left] if level.left else stretch.document,
            stretch.ids[level.right] if level.right > 1 else stretch.token,
            stretch.starts,
            level.right if level.left else 0,
            level.length - 1,
            level.table,
            id_P,
        )
        stretch.ids[level.length] = id_P
        if level.length in self._row:
            self._count(level, stretch)

    def _count(self, level: _Level, stretch: _Stretch) -> None:
        run, row = stretch.run, self._row[level.length]
        context = self._level[level.left]
        context_T = stretch.ids[level.left][stretch.place - 1]
        full_T = stretch.ids[level.length][stretch.place]
        waiting = len(level.waiting_full)
        context_Q = np.concatenate([level.waiting_context, context_T])
        full_Q = np.concatenate([level.waiting_full, full_T])
        first = level.waiting_first if waiting else run.first
        visible = _count(
            context_Q,
            full_Q,
            waiting,
            run.first - first,
            self._config.delay_targets,
            run.segment_ends,
            run.look_up,
            run.add,
            self._hints,
            context.table,
            context.context_column,
            level.table,
            level.count_column,
            stretch.seen.context[row],
            stretch.seen.count[row],
            stretch.seen.hint[row],
        )
        due = len(full_Q) if run.add else waiting
        level.wait(context_Q[visible:due].copy(), full_Q[visible:due].copy(), first + visible)


@numba.njit(nogil=True, cache=True)
def _intern(
    left_P: Uint32Array,
    right_P: Uint32Array,
    start_P: npt.NDArray[np.bool_],
    right_length: int,
    first: int,
    table_S: Uint32Array,
    id_P: Uint32Array,
) -> np.uint32:
    """Ids of the n-grams that end at positions `first` and on: their slot + 1, or 0 where there is none."""
    slots = np.uint64(len(table_S))
    home_B = np.empty(BLOCK, np.uint64)
    touched = np.uint32(0)
    for begin in range(first, len(id_P), BLOCK):
        end = min(begin + BLOCK, len(id_P))
        for p in range(begin, end):
            h = (np.uint64(left_P[p - right_length]) << np.uint64(32)) | np.uint64(right_P[p])
            # Odd constants of splitmix64 (Steele, Lea and Flood 2014).
            h = (h ^ (h >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            home = ((h >> np.uint64(32)) * slots) >> np.uint64(32)
            home_B[p - begin] = home
            # Reads that hang on nothing, so that the misses of a block overlap; returned, or they would be left out.
            touched ^= table_S[home, LEFT]
        for p in range(begin, end):
            left = left_P[p - right_length]
            right = right_P[p]
            if left == 0 or right == 0 or (right_length > 0 and start_P[p - right_length + 1]):
                continue
            slot = home_B[p - begin]
            while table_S[slot, LEFT] != left or table_S[slot, RIGHT] != right:
                if table_S[slot, LEFT] == 0:
                    table_S[slot, LEFT] = left
                    table_S[slot, RIGHT] = right
                    break
                slot += np.uint64(1)
                if slot == slots:
                    slot = np.uint64(0)
            id_P[p] = np.uint32(slot) + np.uint32(1)
    return touched


@numba.njit(nogil=True, cache=True)
def _count(
    context_Q: Uint32Array,
    full_Q: Uint32Array,
    waiting: int,
    ahead: int,
    delay: int,
    segment_ends: npt.NDArray[np.int64],
    look_up: bool,
    add: bool,
    hints: bool,
    context_S: Uint32Array,
    context_column: int,
    full_S: Uint32Array,
    count_column: int,
    context_T: Uint32Array,
    count_T: Uint32Array,
    hint_T: npt.NDArray[np.int32],
) -> int:
    """Take a run of records segment by segment: look up each, after making visible what lies far enough back.

    The run's first record comes `ahead` records after the first of those that wait. Returns how many of Q are visible.
    """
    visible = 0
    due = waiting  # of Q, those whose segment is over
    first = 0
    for end in segment_ends:
        for i in range(first, end):
            while visible < due and visible + delay <= ahead + i:
                _add(context_Q[visible], full_Q[visible], hints, context_S, context_column, full_S, count_column)
                visible += 1
            # The context alone decides whether there is one. A document's first token has one too, in the document
            # before, where it was never seen: were it told from other targets here, the counts would know the target.
            if not look_up or context_Q[waiting + i] == 0:
                continue
            context = context_Q[waiting + i] - np.uint32(1)
            context_T[i] = context_S[context, context_column]
            if hints:
                hint_T[i] = np.int32(context_S[context, context_column + 1]) - 1
                count_T[i] = context_S[context, context_column + 2]
            elif full_Q[waiting + i] != 0:
                count_T[i] = full_S[full_Q[waiting + i] - np.uint32(1), count_column]
        if add:
            due = waiting + end
        first = end
    while visible < due and visible + delay <= ahead + first:
        _add(context_Q[visible], full_Q[visible], hints, context_S, context_column, full_S, count_column)
        visible += 1
    return visible


@numba.njit(nogil=True, cache=True, inline="always")
def _add(
    context: np.uint32,
    full: np.uint32,
    hints: bool,
    context_S: Uint32Array,
    context_column: int,
    full_S: Uint32Array,
    count_column: int,
) -> None:
    """Count an n-gram and its context, and keep the context's hint: the token that reached the highest count first."""
    if full != 0:
        context_S[context - np.uint32(1), context_column] += np.uint32(1)
        count = full_S[full - np.uint32(1), count_column] + np.uint32(1)
        full_S[full - np.uint32(1), count_column] = count
        if hints and count > context_S[context - np.uint32(1), context_column + 2]:
            context_S[context - np.uint32(1), context_column + 1] = full_S[full - np.uint32(1), RIGHT]
            context_S[context - np.uint32(1), context_column + 2] = count
