"""The probability model of the entropy coder: how likely each code of a matrix is, given the codes before it.

Writer and reader share it. A matrix is walked along its anti-diagonals: the codes of one are predicted together, from
those left of each in its row and above it in its column. Row and column give the magnitude and the sign to expect;
these choose a context, and each context counts what came in it. Where the mean is far from zero, as in tables whose
rows have much in common, codes are counted from it. Integers only, so every machine predicts the same. docs/format.md
defines every step for other readers.
Shapes: R rows, C columns, N codes of one anti-diagonal, K contexts, S symbols (codes counted from the smallest, or from
where their shift puts it).
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]

# The frequencies of a context sum to 2^16.
TOTAL_BITS = 16

# Means are in 1/256, and start as if 16 codes of the matrix's own mean had been seen.
_UNIT = 256
_PRIOR_CODES = 16
# Classes of magnitude, three per octave from 1/16 to 100.
_BORDERS = tuple(step << octave for octave in range(11) for step in (16, 20, 25))
_CLASSES = len(_BORDERS) + 1
_CLASS_OF: Ints = np.searchsorted(_BORDERS, np.arange(_BORDERS[-1] + 1), side="right")
# Negative, undecided, positive: a mean beyond a tenth of the magnitude says something about the sign.
_SIGNS = 3
_SIGN_SHARE = 10
# A mean beyond half the magnitude is subtracted.
_SHIFT_SHARE = 2

# A code counts 32. A context starts with 60 codes in the shape of a bell. All codes that came are worth 512 in the
# frequencies, the last ones, halved beyond 512, come on top: tensors differ. Either alone is longer, by 0.3 % where all
# codes are alike and by 0.5 % where tensors differ.
_COUNT = 32
_BELL_CODES = 60
_OLD_CODES = 512
_LAST_CODES = 512
# Frequencies follow the counts after every 1/128 of the codes so far; renewing them costs as much as coding a hundred.
_RENEW_SHARE, _RENEW_LEAST, _RENEW_MOST = 128, 16, 1024


class Frequencies:
    """Adaptive frequencies of the codes of `bits` bits in every context.

    edges: [K · S + 1], rising. Context k begins at k · 2^16; its symbol s has the numbers from edges[k · S + s] up to
    the next edge, at least one.
    """

    def __init__(self, bits: int) -> None:
        self.symbols = 1 << bits
        self.smallest = -(1 << (bits - 1))
        self._all_KS = np.tile(_bells(bits), (_SIGNS, 1))
        self._last_KS = np.zeros_like(self._all_KS)
        self._counted = 0
        self._waiting: list[Ints] = []
        self._waiting_codes = 0
        self._renew()

    def count(self, index_N: Ints) -> None:
        """Count codes, each given as context · S + symbol. They enter the frequencies when enough have come."""
        self._waiting.append(index_N)
        self._waiting_codes += len(index_N)
        if self._waiting_codes < min(_RENEW_MOST, max(_RENEW_LEAST, self._counted // _RENEW_SHARE)):
            return
        seen = np.bincount(np.concatenate(self._waiting), minlength=self._all_KS.size)
        seen_KS = _COUNT * seen.reshape(self._all_KS.shape)
        self._all_KS += seen_KS
        self._last_KS += seen_KS
        full_K = self._last_KS.sum(axis=1) > _COUNT * _LAST_CODES
        self._last_KS[full_K] >>= 1
        self._counted += self._waiting_codes
        self._waiting, self._waiting_codes = [], 0
        self._renew()

    def _renew(self) -> None:
        all_K1 = self._all_KS.sum(axis=1, keepdims=True)
        counts_KS = self._last_KS + self._all_KS * np.minimum(all_K1, _COUNT * _OLD_CODES) // all_K1
        upto_KS = np.cumsum(counts_KS, axis=1)
        contexts, symbols = upto_KS.shape
        # One of 2^16 for every symbol and the rest by counts: nothing is impossible, and every sum is exact.
        edges_KS = upto_KS * ((1 << TOTAL_BITS) - symbols) // upto_KS[:, -1:] + np.arange(1, symbols + 1)
        edges_KS += (np.arange(contexts) << TOTAL_BITS)[:, None]
        self.edges: Ints = np.concatenate([[0], edges_KS.reshape(-1)])


@lru_cache
def _bells(bits: int) -> Ints:
    """Counts [classes, S] to start from: Student's t with 7 degrees of freedom and each class's mean magnitude."""
    codes = range(-(1 << (bits - 1)), 1 << (bits - 1))
    borders = (0, *_BORDERS, _BORDERS[-1] * 5 // 4)
    counts = []
    for low, high in pairwise(borders):
        mean = (low + high) // 2
        # Seven times the squared width: a mean magnitude is 0.9 widths, and rounding to integers adds 1/12.
        width = 7 * (5 * mean * mean // 4 + _UNIT * _UNIT // 12)
        heights = [(width**4 << 64) // (width + code * code * _UNIT * _UNIT) ** 4 for code in codes]
        counts.append([1 + _COUNT * _BELL_CODES * height // sum(heights) for height in heights])
    return np.array(counts, np.int64)


class Surroundings:
    """What to expect of a matrix's codes, one anti-diagonal after the other.

    Iterating gives, per diagonal, the places [N] of its codes in the flat matrix, their contexts [N], and the shifts
    [N] by which their symbols are moved; before the next, `learn` must be told the codes.
    """

    def __init__(self, rows: int, columns: int, bits: int) -> None:
        self._rows, self._columns = rows, columns
        # Sums over the codes so far, times 256: of magnitudes without shift, and of the codes themselves.
        self._size_R, self._size_C = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
        self._lean_R, self._lean_C = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
        # As if one code had come before, of an eighth of the alphabet.
        self._size, self._lean, self._codes = (_UNIT << bits) // 8, 0, 1
        self._row_N = self._column_N = slice(0, 0)
        self._shift_N: Ints = np.empty(0, np.int64)

    def __iter__(self) -> Iterator[tuple[slice, Ints, Ints]]:
        rows, columns = self._rows, self._columns
        weight = np.arange(max(rows, columns)) + _PRIOR_CODES
        step = max(1, columns - 1)
        for diagonal in range(rows + columns - 1 if rows and columns else 0):
            first, last = max(0, diagonal - columns + 1), min(rows - 1, diagonal)
            # Rows first..last downwards, columns from the right: code (r, diagonal - r) has as many on its left.
            row_N = self._row_N = slice(first, last + 1)
            column_N = self._column_N = slice(diagonal - last, diagonal - first + 1)
            left_N, above_N = weight[column_N][::-1], weight[row_N]
            mean = max(1, self._size // self._codes)
            prior = _PRIOR_CODES * mean
            row_size_N = (self._size_R[row_N] + prior) // left_N
            column_size_N = (self._size_C[column_N][::-1] + prior) // above_N
            size_N = row_size_N * column_size_N // mean
            mean_lean = self._lean // self._codes
            prior_lean = _PRIOR_CODES * mean_lean
            lean_N = (self._lean_R[row_N] + prior_lean) // left_N
            # What row and column have in common with all codes is in both.
            lean_N += (self._lean_C[column_N][::-1] + prior_lean) // above_N - mean_lean
            shift_N = ((lean_N + _UNIT // 2) // _UNIT) * (_SHIFT_SHARE * np.abs(lean_N) > size_N)
            lean_N *= _SIGN_SHARE * (shift_N == 0)
            sign_N = 1 + (lean_N > size_N) - (lean_N < -size_N)
            self._shift_N = shift_N
            begin = diagonal + first * (columns - 1)
            place_N = slice(begin, begin + step * (last - first) + 1, step)
            yield place_N, sign_N * _CLASSES + _CLASS_OF.take(size_N, mode="clip"), shift_N

    def learn(self, code_N: Ints) -> None:
        """Take in the codes of the diagonal that iteration has just given."""
        lean_N = _UNIT * code_N
        size_N = np.abs(lean_N - _UNIT * self._shift_N)
        self._size_R[self._row_N] += size_N
        self._size_C[self._column_N] += size_N[::-1]
        self._lean_R[self._row_N] += lean_N
        self._lean_C[self._column_N] += lean_N[::-1]
        self._size += int(size_N.sum())
        self._lean += int(lean_N.sum())
        self._codes += len(code_N)
