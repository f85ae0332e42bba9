"""Documents of one stream that stand, token for token, as documents in a longer one, whatever their length.

A document is what lies between two BOS, without them. A hash of all its tokens says with which it is compared, equal
tokens decide. Documents of fewer different tokens than `least_distinct` are trivial and left out.

All that enters a compiled function stands in this file.

Shapes: D documents of the indexed stream, R different ones among them, C documents of a piece of the long stream,
L those among them that are looked for.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.uint16]
Uint64Array = npt.NDArray[np.uint64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def document_bounds(tokens: Tokens, bos_id: int) -> tuple[Int64Array, Int64Array]:
    """First token and end of each document of a stream, BOS left out; tokens before the first BOS are one, too."""
    at = np.flatnonzero(tokens == bos_id)
    begin = at + 1 if len(at) and at[0] == 0 else np.concatenate([[0], at + 1])
    end = np.concatenate([begin[1:] - 1, [len(tokens)]])
    return begin.astype(np.int64), end.astype(np.int64)


@dataclass(frozen=True, slots=True)
class DocumentIndex:
    """The documents [begin, end) of a stream, by their tokens.

    classes [D]: the first document with the same tokens; -1: trivial. longest: tokens of the longest one that is not.
    """

    classes: Int64Array
    longest: int
    _tokens: Tokens
    _hashes: Uint64Array
    _begins: Int64Array
    _ends: Int64Array
    _documents: Int64Array
    _mask: np.uint64
    _least_distinct: int

    @classmethod
    def of(
        cls, tokens: Tokens, begin_D: Int64Array, end_D: Int64Array, *, least_distinct: int, hash_bits: int = 64
    ) -> "DocumentIndex":
        """Index them. hash_bits: fewer make collisions, for tests."""
        mask = np.uint64((1 << hash_bits) - 1)
        hash_D = _hashes(tokens, begin_D, end_D) & mask
        rich_D = _are_rich(tokens, begin_D, end_D, least_distinct)
        order_D = np.argsort(hash_D, kind="stable")
        order_D = order_D[rich_D[order_D]]
        class_D = np.full(len(begin_D), -1, np.int64)
        _classify(tokens, begin_D, end_D, hash_D, order_D, class_D)
        document_R = order_D[class_D[order_D] == order_D]
        begin_R, end_R = begin_D[document_R], end_D[document_R]
        longest = int((end_R - begin_R).max(initial=0))
        return cls(class_D, longest, tokens, hash_D[document_R], begin_R, end_R, document_R, mask, least_distinct)

    def find(self, tokens: Tokens, begin_C: Int64Array, end_C: Int64Array) -> tuple[Int64Array, Uint64Array]:
        """Class and hash of each document [begin, end) of a piece of the long stream.

        Class -1: it is none of the indexed ones. Trivial documents and those that are longer than all that are indexed
        are left out: they have -2, and no hash.
        """
        size_C = end_C - begin_C
        class_C = np.where((size_C > 0) & (size_C <= self.longest), -1, -2)
        class_C[~_are_rich(tokens, begin_C, end_C, self._least_distinct)] = -2
        looked = np.flatnonzero(class_C == -1)
        begin_L, end_L = begin_C[looked], end_C[looked]
        hash_L = _hashes(tokens, begin_L, end_L)
        found_L = np.full(len(looked), -1, np.int64)
        masked_L = hash_L & self._mask
        _find(
            tokens, begin_L, end_L, masked_L, np.searchsorted(self._hashes, masked_L),
            self._tokens, self._hashes, self._begins, self._ends, self._documents, found_L,
        )  # fmt: skip
        class_C[looked] = found_L
        return class_C, hash_L


@numba.njit(nogil=True, cache=True)
def _hashes(tokens: Tokens, begin_D: Int64Array, end_D: Int64Array) -> Uint64Array:
    hash_D = np.empty(len(begin_D), np.uint64)
    for d in range(len(begin_D)):
        h = np.uint64(0)
        for i in range(begin_D[d], end_D[d]):
            h = (h + np.uint64(tokens[i]) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            h ^= h >> np.uint64(32)
        hash_D[d] = h
    return hash_D


@numba.njit(nogil=True, cache=True)
def _are_rich(tokens: Tokens, begin_D: Int64Array, end_D: Int64Array, least_distinct: int) -> BoolArray:
    """Whether each has at least that many different tokens; only so many are looked at as it takes."""
    rich_D = np.zeros(len(begin_D), np.bool_)
    in_document_I = np.full(1 << 16, -1, np.int64)
    for d in range(len(begin_D)):
        distinct = 0
        for i in range(begin_D[d], end_D[d]):
            if in_document_I[tokens[i]] != d:
                in_document_I[tokens[i]] = d
                distinct += 1
            if distinct >= least_distinct:
                rich_D[d] = True
                break
    return rich_D


@numba.njit(nogil=True, cache=True)
def _same(a: Tokens, a_begin: int, a_end: int, b: Tokens, b_begin: int, b_end: int) -> bool:
    if a_end - a_begin != b_end - b_begin:
        return False
    for i in range(a_end - a_begin):  # noqa: SIM110
        if a[a_begin + i] != b[b_begin + i]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _classify(
    tokens: Tokens,
    begin_D: Int64Array,
    end_D: Int64Array,
    hash_D: Uint64Array,
    order_D: Int64Array,
    class_D: Int64Array,
) -> None:
    """order_D: documents by hash, equal hashes by place."""
    first = 0  # of those with the same hash
    for k in range(len(order_D)):
        d = order_D[k]
        if hash_D[d] != hash_D[order_D[first]]:
            first = k
        class_D[d] = d
        for j in range(first, k):
            other = order_D[j]
            if class_D[other] == other and _same(tokens, begin_D[d], end_D[d], tokens, begin_D[other], end_D[other]):
                class_D[d] = other
                break


@numba.njit(nogil=True, cache=True)
def _find(
    tokens: Tokens,
    begin_C: Int64Array,
    end_C: Int64Array,
    hash_C: Uint64Array,
    at_C: Int64Array,
    indexed: Tokens,
    hash_R: Uint64Array,
    begin_R: Int64Array,
    end_R: Int64Array,
    document_R: Int64Array,
    class_C: Int64Array,
) -> None:
    for c in range(len(begin_C)):
        r = at_C[c]
        while r < len(hash_R) and hash_R[r] == hash_C[c]:
            if _same(tokens, begin_C[c], end_C[c], indexed, begin_R[r], end_R[r]):
                class_C[c] = document_R[r]
                break
            r += 1
