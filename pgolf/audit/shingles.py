"""Shingles of one stream, all runs of `length` tokens in it, looked for in a much longer one.

A hash says where in the table to look, equal tokens decide: a collision costs time and accuses nobody. Equal shingles
share one entry, the first of them, so a passage that stands a thousand times in both streams costs a thousand
look-ups, not a million.

What is trivial, a shingle with fewer different tokens than `least_distinct`, has no entry: rows of dashes, padding and
tables of zeros are no copies of one another. A shingle of period p has at most p different tokens.

All that enters a compiled function stands in this file.

Shapes: Q positions of the indexed stream, P positions of a piece of the long one, S slots of the table, W words of the
filter, B positions of a block, I ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from pgolf.errors import DataError

NO_CLASS = 0xFFFFFFFF
# Slots of the table per entry at least, and bits of the filter: 1 in 16 positions that are no copy gets past it.
SLOTS_PER_ENTRY = 1.5
BITS_PER_ENTRY = 16
# Positions whose words are read before the first is looked at, so that their cache misses overlap.
BLOCK = 256
_IDS = 1 << 16
_BASE = 0x9E3779B97F4A7C15  # odd; 2^64 over the golden ratio
_SEED = 20240520

Tokens = npt.NDArray[np.uint16]
Uint64Array = npt.NDArray[np.uint64]
Uint32Array = npt.NDArray[np.uint32]
Uint8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """What one thread has seen of an index in the long stream.

    first: 1 + the first position in the long stream of each class, 0: nowhere; [Q], or for fewer positions of interest.
    seen [Q]: how often each class was seen, 2 stands for more.
    """

    first: Int64Array
    seen: Uint8Array


@dataclass(frozen=True, slots=True)
class ShingleIndex:
    """All shingles of a stream that are not trivial, by their tokens. entries: how many different ones.

    classes [Q]: the first position with the same shingle, NO_CLASS where it is trivial or none begins.
    """

    length: int
    tokens: Tokens
    classes: Uint32Array
    entries: int
    trivial: int
    _table: Uint64Array
    _filter: Uint64Array
    _entering: Uint64Array
    _leaving: Uint64Array
    _mask: np.uint64

    @classmethod
    def of(
        cls,
        parts: Sequence[Tokens],
        *,
        length: int,
        least_distinct: int,
        hash_bits: int = 64,
    ) -> "ShingleIndex":
        """Index the parts, one behind the other; no shingle reaches from one into the next.

        hash_bits: fewer make collisions, for tests. Raises DataError for more tokens than the table can name.
        """
        tokens_Q = np.concatenate(parts) if parts else np.empty(0, np.uint16)
        if len(tokens_Q) >= NO_CLASS:
            raise DataError(f"{len(tokens_Q):,} tokens to look for; at most {NO_CLASS - 1:,} can be indexed")
        mask = np.uint64((1 << hash_bits) - 1)
        entering_I = np.random.default_rng(_SEED).integers(0, 1 << 64, _IDS, dtype=np.uint64)
        leaving_I = entering_I * np.uint64(pow(_BASE, length, 1 << 64))
        table_S = np.zeros(_power_of_two(SLOTS_PER_ENTRY * len(tokens_Q)), np.uint64)
        filter_W = np.zeros(_power_of_two(BITS_PER_ENTRY * len(tokens_Q)) // 64, np.uint64)
        class_Q = np.full(len(tokens_Q), NO_CLASS, np.uint32)
        begin = entries = trivial = 0
        for part in parts:
            entered, left_out, _ = _enter(
                tokens_Q, begin, begin + len(part), length, least_distinct, entering_I, leaving_I, mask,
                table_S, filter_W, class_Q,
            )  # fmt: skip
            begin, entries, trivial = begin + len(part), entries + entered, trivial + left_out
        return cls(length, tokens_Q, class_Q, entries, trivial, table_S, filter_W, entering_I, leaving_I, mask)

    def nothing_found(self, first: int) -> Found:
        """What has been seen before anything was; first places are kept for positions below `first`."""
        return Found(np.zeros(first, np.int64), np.zeros(len(self.tokens), np.uint8))

    def look_up(self, tokens_P: Tokens, starts: int, place: int, found: Found) -> tuple[int, int, int]:
        """Look for the shingles that begin at the first `starts` tokens of a piece.

        place: the piece's place in the long stream. found: is added to. Returns how many of them are shingles of the
        indexed stream below len(found.first), and the first and last of these (-1: none), within the piece.
        """
        starts = min(starts, len(tokens_P) - self.length + 1)
        shared, first, last, _ = _look_up(
            tokens_P, starts, place, self.length, self._entering, self._leaving, self._mask,
            self._table, self._filter, self.tokens, found.first, found.seen,
        )  # fmt: skip
        return shared, first, last


def _power_of_two(least: float) -> int:
    # At least 2 words of 64 bits: a key cannot be shifted by all its 64.
    return 1 << max(7, int(np.ceil(np.log2(max(1.0, least)))))


@numba.njit(nogil=True, cache=True)
def _spread(h: np.uint64) -> np.uint64:
    """All bits of a rolling hash brought into the upper ones, which name word and slot."""
    return (h ^ (h >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)


@numba.njit(nogil=True, cache=True)
def _shift(size: int) -> np.uint64:
    """By how much a key is shifted to be an index below `size`, a power of two."""
    shift = np.uint64(64)
    while size > 1:
        size >>= 1
        shift -= np.uint64(1)
    return shift


@numba.njit(nogil=True, cache=True)
def _equal(a_Q: Tokens, a: int, b_Q: Tokens, b: int, length: int) -> bool:
    # From the end: where the first tokens are equal, it is the last that differs.
    for i in range(length - 1, -1, -1):  # noqa: SIM110
        if a_Q[a + i] != b_Q[b + i]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _enter(
    tokens_Q: Tokens,
    begin: int,
    end: int,
    length: int,
    least_distinct: int,
    entering_I: Uint64Array,
    leaving_I: Uint64Array,
    mask: np.uint64,
    table_S: Uint64Array,
    filter_W: Uint64Array,
    class_Q: Uint32Array,
) -> tuple[int, int, np.uint64]:
    """Enter the shingles of [begin, end). An entry is 32 bits of the hash, then 1 + the position of its class."""
    entered = 0
    trivial = 0
    touched = np.uint64(0)
    last = end - length
    if last < begin:
        return entered, trivial, touched
    slot_shift, word_shift = _shift(len(table_S)), _shift(len(filter_W))
    bit_shift = word_shift - np.uint64(6)
    slot_mask = np.uint64(len(table_S) - 1)
    low = np.uint64(0xFFFFFFFF)
    in_shingle_I = np.zeros(_IDS, np.uint32)
    distinct = 0
    h = np.uint64(0)
    for i in range(begin, begin + length - 1):
        token = tokens_Q[i]
        h = h * np.uint64(_BASE) + entering_I[token]
        distinct += in_shingle_I[token] == 0
        in_shingle_I[token] += np.uint32(1)
    key_B = np.empty(BLOCK, np.uint64)
    rich_B = np.empty(BLOCK, np.bool_)
    for block in range(begin, last + 1, BLOCK):
        size = min(BLOCK, last + 1 - block)
        for b in range(size):
            i = block + b
            token = tokens_Q[i + length - 1]
            h = h * np.uint64(_BASE) + entering_I[token]
            distinct += in_shingle_I[token] == 0
            in_shingle_I[token] += np.uint32(1)
            if i > begin:
                left = tokens_Q[i - 1]
                h -= leaving_I[left]
                in_shingle_I[left] -= np.uint32(1)
                distinct -= in_shingle_I[left] == 0
            key = _spread(h & mask)
            key_B[b] = key
            rich_B[b] = distinct >= least_distinct
            # Returned, or the reads would be left out.
            touched ^= table_S[key >> slot_shift] ^ filter_W[key >> word_shift]
        for b in range(size):
            if not rich_B[b]:
                trivial += 1
                continue
            i = block + b
            key = key_B[b]
            slot = key >> slot_shift
            tag = key & low
            while True:
                entry = table_S[slot]
                if entry == 0:
                    table_S[slot] = (tag << np.uint64(32)) | np.uint64(i + 1)
                    filter_W[key >> word_shift] |= np.uint64(1) << ((key >> bit_shift) & np.uint64(63))
                    class_Q[i] = np.uint32(i)
                    entered += 1
                    break
                if entry >> np.uint64(32) == tag:
                    known = int(entry & low) - 1
                    if _equal(tokens_Q, i, tokens_Q, known, length):
                        class_Q[i] = np.uint32(known)
                        break
                slot = (slot + np.uint64(1)) & slot_mask
    return entered, trivial, touched


@numba.njit(nogil=True, cache=True)
def _look_up(
    tokens_P: Tokens,
    starts: int,
    place: int,
    length: int,
    entering_I: Uint64Array,
    leaving_I: Uint64Array,
    mask: np.uint64,
    table_S: Uint64Array,
    filter_W: Uint64Array,
    tokens_Q: Tokens,
    first_Q: Int64Array,
    seen_Q: Uint8Array,
) -> tuple[int, int, int, np.uint64]:
    shared = 0
    first_shared = -1
    last_shared = -1
    if starts < 1:
        return shared, first_shared, last_shared, np.uint64(0)
    slot_shift, word_shift = _shift(len(table_S)), _shift(len(filter_W))
    bit_shift = word_shift - np.uint64(6)
    slot_mask = np.uint64(len(table_S) - 1)
    low = np.uint64(0xFFFFFFFF)
    # The hash of the first shingle but for its last token, as if a token of value 0 stood before it.
    h = np.uint64(0)
    for i in range(length - 1):
        h = h * np.uint64(_BASE) + entering_I[tokens_P[i]]
    leaving = np.uint64(0)
    touched = np.uint64(0)
    key_B = np.empty(BLOCK, np.uint64)
    at_B = np.empty(BLOCK + 1, np.int64)
    before_i = -2  # the last copy, and its class
    before_q = -2
    for block in range(0, starts, BLOCK):
        size = min(BLOCK, starts - block)
        for b in range(size):
            i = block + b
            h = h * np.uint64(_BASE) + entering_I[tokens_P[i + length - 1]] - leaving
            leaving = leaving_I[tokens_P[i]]
            key_B[b] = _spread(h & mask)
        # No branch hangs on the filter, so its words are read far ahead.
        passed = 0
        for b in range(size):
            key = key_B[b]
            at_B[passed] = b
            passed += int((filter_W[key >> word_shift] >> ((key >> bit_shift) & np.uint64(63))) & np.uint64(1))
        for j in range(passed):
            touched ^= table_S[key_B[at_B[j]] >> slot_shift]
        for j in range(passed):
            i = block + at_B[j]
            key = key_B[at_B[j]]
            slot = key >> slot_shift
            tag = key & low
            while True:
                entry = table_S[slot]
                if entry == 0:
                    break
                if entry >> np.uint64(32) == tag:
                    q = int(entry & low) - 1
                    # One further in both than the copy before: all its tokens but the last are known to be equal.
                    known = length - 1 if i == before_i + 1 and q == before_q + 1 else 0
                    if _equal(tokens_P, i + known, tokens_Q, q + known, length - known):
                        before_i, before_q = i, q
                        if seen_Q[q] < 2:
                            seen_Q[q] += np.uint8(1)
                        if q < len(first_Q):
                            if first_Q[q] == 0 or first_Q[q] > place + i + 1:
                                first_Q[q] = place + i + 1
                            shared += 1
                            last_shared = i
                            if first_shared < 0:
                                first_shared = i
                        break
                slot = (slot + np.uint64(1)) & slot_mask
    return shared, first_shared, last_shared, touched
