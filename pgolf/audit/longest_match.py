"""The longest runs of equal tokens in two streams, from where their shingles were first seen.

Shapes: V positions of validation, R runs.
"""

import numba
import numpy as np

from pgolf.audit.shingles import NO_CLASS, BoolArray, Int64Array, Tokens, Uint32Array
from pgolf.audit.train_stream import TrainStream

# Tokens compared at a time: at first, then twice as many each time, up to the most.
FIRST_STEP = 1 << 9
MOST_STEP = 1 << 20


def runs(class_V: Uint32Array, first_V: Int64Array) -> Int64Array:
    """Runs of shingles that were first seen one behind the other [3, R]: begin in validation and training, shingles."""
    run_3R = np.zeros((3, _runs(class_V, first_V, np.empty((3, 0), np.int64), NO_CLASS)), np.int64)
    _runs(class_V, first_V, run_3R, NO_CLASS)
    return run_3R


def extended(
    validation: Tokens, stream: TrainStream, at: int, train_at: int, *, begin: int, end: int
) -> tuple[int, int, int]:
    """The longest run through a pair of positions, within [begin, end) of validation: its begins, and its tokens."""
    back = ahead = 0
    step = FIRST_STEP
    while True:
        size = min(step, at - back - begin, train_at - back)
        equal = (validation[at - back - size : at - back] == stream.read(train_at - back - size, train_at - back))[::-1]
        back += _leading(equal)
        if size == 0 or not equal.all():
            break
        step = min(2 * step, MOST_STEP)
    step = FIRST_STEP
    while True:
        size = min(step, end - at - ahead, stream.tokens - train_at - ahead)
        equal = validation[at + ahead : at + ahead + size] == stream.read(train_at + ahead, train_at + ahead + size)
        ahead += _leading(equal)
        if size == 0 or not equal.all():
            return at - back, train_at - back, back + ahead
        step = min(2 * step, MOST_STEP)


def _leading(equal: BoolArray) -> int:
    return len(equal) if equal.all() else int(np.argmin(equal))


@numba.njit(nogil=True, cache=True)
def _runs(class_V: Uint32Array, first_V: Int64Array, run_3R: Int64Array, no_class: int) -> int:
    """How many there are; written down where there is room."""
    count = 0
    before = np.int64(-2)
    for v in range(len(class_V)):
        place = np.int64(-2)
        if class_V[v] != no_class and first_V[class_V[v]] > 0:
            place = first_V[class_V[v]] - 1
            if before < 0 or place != before + 1:
                if count < run_3R.shape[1]:
                    run_3R[0, count] = v
                    run_3R[1, count] = place
                count += 1
            if count <= run_3R.shape[1]:
                run_3R[2, count - 1] += 1
        before = place
    return count
