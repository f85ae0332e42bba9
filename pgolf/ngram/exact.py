"""Exact n-gram counts: every context is told from every other, and the counts after it sum to its own.

A context is named by the first target it was added for: its tokens are read back from the stream, so that contexts of
any length and vocabulary compare exactly and cost 12 bytes. Counts after a context are kept under (that name, token).
Hence sum over a of c(context, a) = c(context), at any moment, by construction.

Shapes: T records of a run, M of them sampled, W tokens of context, S slots (open addressing, a power of two, at most
0.7 full).
"""

import numba
import numpy as np
import numpy.typing as npt

MAX_LOAD = 0.7
FIRST_SLOTS = 1 << 12

# Columns of a slot of the context table: the context's 32-bit hash, the target that names it, its count (0: free).
# Columns of a slot of the full table: the name of the context, the token after it, their count (0: free).
COLUMNS = 3
COUNT = 2


def multipliers(width: int) -> npt.NDArray[np.uint64]:
    """W odd multipliers for hashing a context; splitmix64 from 0 (Steele, Lea and Flood 2014)."""
    values = []
    state = 0
    for _ in range(width):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        values.append((z ^ (z >> 31)) | 1)
    return np.array(values, np.uint64)


class ExactTable:
    """Exact counts of one order, uint32, empty at first; grows with the number of different n-grams."""

    def __init__(self, order: int) -> None:
        self._multipliers = multipliers(order - 1)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._context_S = np.zeros((FIRST_SLOTS, COLUMNS), np.uint32)
        self._full_S = np.zeros((FIRST_SLOTS, COLUMNS), np.uint32)
        self._used = np.zeros(2, np.int64)  # slots in use: contexts, fulls

    def advance(
        self,
        tokens: npt.NDArray[np.uint16],
        target_T: npt.NDArray[np.int64],
        segment_ends: npt.NDArray[np.int64],
        *,
        look_up: bool,
        add: bool,
        context_T: npt.NDArray[np.uint32],
        full_T: npt.NDArray[np.uint32],
        sample_M: npt.NDArray[np.int64],
        mass_M: npt.NDArray[np.float64],
    ) -> None:
        """Take a run of records segment by segment: look all of a segment up, then add all of it.

        As `pgolf.ngram.count.Table.advance`; the mass after a context that was seen is 1 by construction.
        """
        if add:
            self._context_S = _with_room(self._context_S, int(self._used[0]) + len(target_T), is_full_table=False)
            self._full_S = _with_room(self._full_S, int(self._used[1]) + len(target_T), is_full_table=True)
        _advance(
            tokens,
            target_T,
            segment_ends,
            self._multipliers,
            self._context_S,
            self._full_S,
            self._used,
            look_up,
            add,
            context_T,
            full_T,
        )
        if look_up:
            mass_M[:] = context_T[sample_M] > 0


def _with_room(table: npt.NDArray[np.uint32], entries: int, *, is_full_table: bool) -> npt.NDArray[np.uint32]:
    """The same table, or a wider copy in which `entries` fit below the greatest load."""
    slots = len(table)
    while slots * MAX_LOAD < entries:
        slots *= 2
    if slots == len(table):
        return table
    wider = np.zeros((slots, COLUMNS), np.uint32)
    _refill(table, wider, is_full_table)
    return wider


@numba.njit(nogil=True, cache=True, inline="always")
def _full_hash(name: np.uint32, token: np.uint32) -> np.uint64:
    h = (np.uint64(name) << np.uint64(16) | np.uint64(token)) * np.uint64(0x9E3779B97F4A7C15)
    return h >> np.uint64(32)  # the lower half would not see the name's upper bits


@numba.njit(nogil=True, cache=True)
def _refill(table: npt.NDArray[np.uint32], wider: npt.NDArray[np.uint32], is_full_table: bool) -> None:
    mask = np.uint64(len(wider) - 1)
    for old in range(len(table)):
        if table[old, COUNT] == 0:
            continue
        h = _full_hash(table[old, 0], table[old, 1]) if is_full_table else np.uint64(table[old, 0])
        slot = h & mask
        while wider[slot, COUNT] != 0:
            slot = (slot + np.uint64(1)) & mask
        wider[slot, 0] = table[old, 0]
        wider[slot, 1] = table[old, 1]
        wider[slot, COUNT] = table[old, COUNT]


@numba.njit(nogil=True, cache=True)
def _find_context(
    tokens: npt.NDArray[np.uint16], target: int, width: int, h: np.uint32, context_S: npt.NDArray[np.uint32]
) -> np.uint64:
    """Slot of the context before `target`, or the free slot where it belongs."""
    mask = np.uint64(len(context_S) - 1)
    slot = np.uint64(h) & mask
    while context_S[slot, COUNT] != 0:
        if context_S[slot, 0] == h:
            name = np.int64(context_S[slot, 1])
            k = 1
            while k <= width and tokens[name - k] == tokens[target - k]:
                k += 1
            if k > width:
                break
        slot = (slot + np.uint64(1)) & mask
    return slot


@numba.njit(nogil=True, cache=True)
def _find_full(name: np.uint32, token: np.uint32, full_S: npt.NDArray[np.uint32]) -> np.uint64:
    """Slot of `token` after the context called `name`, or the free slot where it belongs."""
    mask = np.uint64(len(full_S) - 1)
    slot = _full_hash(name, token) & mask
    while full_S[slot, COUNT] != 0 and (full_S[slot, 0] != name or full_S[slot, 1] != token):
        slot = (slot + np.uint64(1)) & mask
    return slot


@numba.njit(nogil=True, cache=True)
def _advance(
    tokens: npt.NDArray[np.uint16],
    target_T: npt.NDArray[np.int64],
    segment_ends: npt.NDArray[np.int64],
    multipliers: npt.NDArray[np.uint64],
    context_S: npt.NDArray[np.uint32],
    full_S: npt.NDArray[np.uint32],
    used: npt.NDArray[np.int64],
    look_up: bool,
    add: bool,
    context_T: npt.NDArray[np.uint32],
    full_T: npt.NDArray[np.uint32],
) -> None:
    width = len(multipliers)
    hash_T = np.empty(len(target_T), np.uint32)
    for i in range(len(target_T)):
        target = target_T[i]
        h = np.uint64(0)
        if target >= width:
            for k in range(width):
                h += np.uint64(tokens[target - width + k]) * multipliers[k]
        hash_T[i] = np.uint32(h >> np.uint64(32))

    first = 0
    for end in segment_ends:
        if look_up:
            for i in range(first, end):
                target = target_T[i]
                context_T[i] = 0
                full_T[i] = 0
                if target < width:
                    continue
                slot = _find_context(tokens, target, width, hash_T[i], context_S)
                context_T[i] = context_S[slot, COUNT]
                if context_T[i] > 0:
                    full_slot = _find_full(context_S[slot, 1], np.uint32(tokens[target]), full_S)
                    full_T[i] = full_S[full_slot, COUNT]
        if add:
            for i in range(first, end):
                target = target_T[i]
                if target < width:
                    continue
                slot = _find_context(tokens, target, width, hash_T[i], context_S)
                if context_S[slot, COUNT] == 0:
                    context_S[slot, 0] = hash_T[i]
                    context_S[slot, 1] = np.uint32(target)
                    used[0] += 1
                context_S[slot, COUNT] += np.uint32(1)
                name = context_S[slot, 1]
                token = np.uint32(tokens[target])
                slot = _find_full(name, token, full_S)
                if full_S[slot, COUNT] == 0:
                    full_S[slot, 0] = name
                    full_S[slot, 1] = token
                    used[1] += 1
                full_S[slot, COUNT] += np.uint32(1)
        first = end
