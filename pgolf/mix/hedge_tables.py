"""Count tables of a Hedge mixture's experts: unigrams, bigrams, and trigrams in hashed rows over the vocabulary.

A position p reads token x[p] and predicts x[p + 1]. A row of the trigram table belongs to a hash of two tokens of
context and holds a count per next token: contexts that share a row blur each other, but every row is a distribution.

Of the V² bigrams of a vocabulary most never occur: 41.7 million tokens of English at V = 1,024 hold 228,282 of
1,048,576. They stand in a table of open addressing that grows with them: entry 0 of a slot is last · V + token + 1, 0
where it is free, entry 1 the count.

Shapes: P positions, V vocabulary, H rows of the trigram table, S slots of the bigrams' table, a power of two.
Source: openai/parameter-golf PR #745.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from pgolf.mix.hedge_config import HedgeConfig, refuse_large_tables

Uint32Array = npt.NDArray[np.uint32]
Uint64Array = npt.NDArray[np.uint64]
Float64Array = npt.NDArray[np.float64]

_LEAST_SLOTS = 1 << 10
# Of the slots that are taken, if all pairs that come are new: three quarters.
_TAKEN, _OF = 3, 4
TRIGRAM = 2  # its row in NgramLosses.loss_nats, after unigram and bigram


@dataclass(frozen=True, slots=True)
class NgramLosses:
    """Losses of the three experts, float64 [3, P] in nats, and whether the trigram's row was empty, bool [P]."""

    loss_nats: Float64Array
    empty: npt.NDArray[np.bool_]


class HedgeTables:
    """Counts of everything seen so far, uint32, empty at first.

    Raises ConfigError for tables that are too large.
    """

    def __init__(self, *, vocab_size: int, trigram_rows: int) -> None:
        refuse_large_tables(vocab_size=vocab_size, trigram_rows=trigram_rows)
        self.vocab_size = vocab_size
        self.tokens = 0
        self._unigram_V = np.zeros(vocab_size, np.uint32)
        self._bigram_S2, self._bigrams = _table_for(0), 0
        self._bigram_total_V = np.zeros(vocab_size, np.uint32)
        self._trigram_HV = np.zeros((trigram_rows, vocab_size), np.uint32)
        self._trigram_total_H = np.zeros(trigram_rows, np.uint32)

    def add(self, tokens: npt.NDArray[np.uint16]) -> None:
        """Count the unigrams, bigrams and trigrams that lie within these consecutive tokens."""
        self._bigram_S2 = _with_room(self._bigram_S2, self._bigrams + len(tokens))
        self._bigrams += _add(
            tokens,
            self._unigram_V,
            self._bigram_S2,
            self._bigram_total_V,
            self._trigram_HV,
            self._trigram_total_H,
        )
        self.tokens += len(tokens)

    def losses(
        self,
        before_P: npt.NDArray[np.uint16],
        last_P: npt.NDArray[np.uint16],
        next_P: npt.NDArray[np.uint16],
        config: HedgeConfig,
    ) -> NgramLosses:
        """-ln of each expert's probability of next_P after the tokens before_P, last_P; counts change nothing."""
        found = NgramLosses(np.empty((3, len(next_P))), np.empty(len(next_P), np.bool_))
        _losses(
            before_P,
            last_P,
            next_P,
            self.tokens,
            self._unigram_V,
            self._bigram_S2,
            self._bigram_total_V,
            self._trigram_HV,
            self._trigram_total_H,
            config.smoothing,
            config.trigram_smoothing,
            float(config.trigram_least_total),
            found.loss_nats,
            found.empty,
        )
        return found


def _table_for(pairs: int) -> Uint64Array:
    """An empty table with room for so many pairs, [S, 2]."""
    slots = _LEAST_SLOTS
    while pairs * _OF > slots * _TAKEN:
        slots *= 2
    return np.zeros((slots, 2), np.uint64)


def _with_room(table_S2: Uint64Array, pairs: int) -> Uint64Array:
    """The table, or a copy of it that has room for so many pairs."""
    if pairs * _OF <= len(table_S2) * _TAKEN:
        return table_S2
    larger = _table_for(pairs)
    _copy(table_S2, larger)
    return larger


@numba.njit(nogil=True, cache=True)
def _slot_of(table_S2: Uint64Array, key: np.uint64) -> np.uint64:
    """The slot of a pair, or the free one where it belongs."""
    mask = np.uint64(len(table_S2) - 1)
    mixed = key * np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: its upper bits hang on all of the key
    slot = (mixed ^ (mixed >> np.uint64(32))) & mask
    while table_S2[slot, 0] != 0 and table_S2[slot, 0] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@numba.njit(nogil=True, cache=True)
def _copy(table_S2: Uint64Array, larger_S2: Uint64Array) -> None:
    for entry in table_S2:
        if entry[0] != 0:
            larger_S2[_slot_of(larger_S2, entry[0])] = entry


@numba.njit(nogil=True, cache=True)
def _row(before: np.uint16, last: np.uint16, rows: int) -> np.uint64:
    return ((np.uint64(before) * np.uint64(36313)) ^ (np.uint64(last) * np.uint64(27191))) % np.uint64(rows)


@numba.njit(nogil=True, cache=True)
def _add(
    tokens: npt.NDArray[np.uint16],
    unigram_V: Uint32Array,
    bigram_S2: Uint64Array,
    bigram_total_V: Uint32Array,
    trigram_HV: Uint32Array,
    trigram_total_H: Uint32Array,
) -> int:
    """Count; returns how many bigrams had not been seen."""
    vocab_size, unseen = np.uint64(len(unigram_V)), 0
    for i in range(len(tokens)):
        token = tokens[i]
        unigram_V[token] += np.uint32(1)
        if i >= 1:
            last = tokens[i - 1]
            key = last * vocab_size + token + np.uint64(1)
            slot = _slot_of(bigram_S2, key)
            unseen += bigram_S2[slot, 0] == 0
            bigram_S2[slot, 0] = key
            bigram_S2[slot, 1] += np.uint64(1)
            bigram_total_V[last] += np.uint32(1)
            if i >= 2:
                row = _row(tokens[i - 2], last, len(trigram_HV))
                trigram_HV[row, token] += np.uint32(1)
                trigram_total_H[row] += np.uint32(1)
    return unseen


@numba.njit(nogil=True, cache=True)
def _losses(
    before_P: npt.NDArray[np.uint16],
    last_P: npt.NDArray[np.uint16],
    next_P: npt.NDArray[np.uint16],
    seen: int,
    unigram_V: Uint32Array,
    bigram_S2: Uint64Array,
    bigram_total_V: Uint32Array,
    trigram_HV: Uint32Array,
    trigram_total_H: Uint32Array,
    smoothing: float,
    trigram_smoothing: float,
    trigram_least_total: float,
    loss_3P: Float64Array,
    empty_P: npt.NDArray[np.bool_],
) -> None:
    """Fill loss_3P and empty_P; the sums of smoothed counts are taken in double."""
    vocab_size = len(unigram_V)
    for i in range(len(next_P)):
        last = last_P[i]
        token = next_P[i]
        row = _row(before_P[i], last, len(trigram_HV))
        total = np.float64(trigram_total_H[row])
        unigram = (unigram_V[token] + smoothing) / (seen + smoothing * vocab_size)
        # A free slot has a count of 0.
        bigram_count = np.float64(
            bigram_S2[_slot_of(bigram_S2, last * np.uint64(vocab_size) + token + np.uint64(1)), 1]
        )
        bigram = (bigram_count + smoothing) / (bigram_total_V[last] + smoothing * vocab_size)
        trigram = (trigram_HV[row, token] + trigram_smoothing) / (
            max(total, trigram_least_total) + trigram_smoothing * vocab_size
        )
        loss_3P[0, i] = -math.log(unigram)
        loss_3P[1, i] = -math.log(bigram)
        loss_3P[2, i] = -math.log(trigram)
        empty_P[i] = total == 0
