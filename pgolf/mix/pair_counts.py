"""How often each pair of neighbouring tokens has occurred, in memory that grows with the pairs and not with V².

Most pairs of a vocabulary never occur: 41.7 million tokens of English at V = 1,024 hold 228,282 of 1,048,576. They
stand in one table of open addressing: entry 0 of a slot is last · V + token + 1, 0 where it is free, entry 1 the count.

Shapes: S slots of the table, a power of two.
"""

import numba
import numpy as np
import numpy.typing as npt

Uint64Array = npt.NDArray[np.uint64]

_LEAST_SLOTS = 1 << 10
# Of the slots that are taken, if all pairs that come are new: three quarters.
_TAKEN, _OF = 3, 4


def table_for(pairs: int) -> Uint64Array:
    """An empty table with room for so many pairs, [S, 2]."""
    slots = _LEAST_SLOTS
    while pairs * _OF > slots * _TAKEN:
        slots *= 2
    return np.zeros((slots, 2), np.uint64)


def with_room(table_S2: Uint64Array, pairs: int) -> Uint64Array:
    """The table, or a copy of it that has room for so many pairs."""
    if pairs * _OF <= len(table_S2) * _TAKEN:
        return table_S2
    larger = table_for(pairs)
    _copy(table_S2, larger)
    return larger


@numba.njit(nogil=True, cache=True)
def slot_of(table_S2: Uint64Array, key: np.uint64) -> np.uint64:
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
            larger_S2[slot_of(larger_S2, entry[0])] = entry
