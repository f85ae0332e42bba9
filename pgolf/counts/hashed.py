"""The published n-gram tables: two arrays of buckets per order, one for contexts, one for contexts with their target.

LEGACY. Their ratio is no probability: C counts by hash(context), F by hash(context, target), so the sum of F over all
targets of one context runs over as many unrelated buckets. They are here to reproduce published scores and to be
labelled as what they are.

Source: openai/parameter-golf PR #715, #761 (several orders, seven primes), #792 (orders 2 to 5).
Shapes: B buckets, T records of a run, M of them sampled, W tokens of context.
"""

import numba
import numpy as np
import numpy.typing as npt

from pgolf.counts.config import Primes

FIVE_PRIMES = (36313, 27191, 51647, 81929, 131071)
PRIMES: dict[Primes, tuple[int, ...]] = {
    "pr715": FIVE_PRIMES,
    "pr761": (*FIVE_PRIMES, 175447, 209591),
    "pr792": FIVE_PRIMES,
}

NO_CONTEXT = np.uint32(0xFFFFFFFF)  # key of a target with fewer than W tokens before it; above any bucket number


def multipliers(order: int, primes: Primes) -> npt.NDArray[np.uint64]:
    """Multipliers of the W context tokens, oldest first, then that of the target; the preset is used in a circle."""
    preset = PRIMES[primes]
    return np.array([preset[k % len(preset)] for k in range(order)], np.uint64)


class HashedTable:
    """Counts of one order in two arrays of B buckets, uint32, empty at first."""

    def __init__(self, order: int, *, buckets: int, primes: Primes, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._multipliers = multipliers(order, primes)
        self._mask = np.uint64(buckets - 1)
        self._context_B = np.zeros(buckets, np.uint32)
        self._full_B = np.zeros(buckets, np.uint32)

    def clear(self) -> None:
        """Forget everything."""
        self._context_B.fill(0)
        self._full_B.fill(0)

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

        tokens: the whole stream, N + 1 ids. target_T: index in `tokens` of each record's target.
        segment_ends: rising; segment s is records segment_ends[s - 1] .. segment_ends[s] - 1 of the run.
        context_T, full_T: filled with the counts looked up; untouched without look_up, like mass_M.
        sample_M: ascending places in the run; mass_M gets, for each, the sum over the vocabulary of the estimate
        min(full, context) / max(context, 1) that every token would have been given there.
        """
        _advance(
            tokens,
            target_T,
            segment_ends,
            self._multipliers,
            self._mask,
            self._context_B,
            self._full_B,
            look_up,
            add,
            context_T,
            full_T,
            self._vocab_size,
            sample_M,
            mass_M,
        )


@numba.njit(nogil=True, cache=True)
def _advance(
    tokens: npt.NDArray[np.uint16],
    target_T: npt.NDArray[np.int64],
    segment_ends: npt.NDArray[np.int64],
    multipliers: npt.NDArray[np.uint64],
    mask: np.uint64,
    context_B: npt.NDArray[np.uint32],
    full_B: npt.NDArray[np.uint32],
    look_up: bool,
    add: bool,
    context_T: npt.NDArray[np.uint32],
    full_T: npt.NDArray[np.uint32],
    vocab_size: int,
    sample_M: npt.NDArray[np.int64],
    mass_M: npt.NDArray[np.float64],
) -> None:
    width = len(multipliers) - 1
    sampled = 0
    context_key_T = np.empty(len(target_T), np.uint32)
    full_key_T = np.empty(len(target_T), np.uint32)
    for i in range(len(target_T)):
        target = target_T[i]
        if target < width:
            context_key_T[i] = NO_CONTEXT
            continue
        key = np.uint64(0)
        for k in range(width):
            key ^= np.uint64(tokens[target - width + k]) * multipliers[k]
        context_key_T[i] = np.uint32(key & mask)
        full_key_T[i] = np.uint32((key ^ (np.uint64(tokens[target]) * multipliers[width])) & mask)

    first = 0
    for end in segment_ends:
        if look_up:
            while sampled < len(sample_M) and sample_M[sampled] < end:
                i = sample_M[sampled]
                total = np.uint64(0)
                count = np.uint32(0)
                if context_key_T[i] != NO_CONTEXT:
                    count = context_B[context_key_T[i]]
                    # The target taken out of its key again leaves the context's part of it.
                    own = np.uint64(tokens[target_T[i]]) * multipliers[width]
                    for token in range(vocab_size):
                        key = np.uint64(full_key_T[i]) ^ ((own ^ (np.uint64(token) * multipliers[width])) & mask)
                        total += np.uint64(min(full_B[key], count))
                mass_M[sampled] = np.float64(total) / np.float64(max(count, np.uint32(1)))
                sampled += 1
            for i in range(first, end):
                if context_key_T[i] == NO_CONTEXT:
                    context_T[i] = 0
                    full_T[i] = 0
                else:
                    context_T[i] = context_B[context_key_T[i]]
                    full_T[i] = full_B[full_key_T[i]]
        if add:
            for i in range(first, end):
                if context_key_T[i] != NO_CONTEXT:
                    context_B[context_key_T[i]] += np.uint32(1)
                    full_B[full_key_T[i]] += np.uint32(1)
        first = end
