"""What two streams share, by the definition: sets of tuples, and every pair of positions."""

from collections.abc import Sequence

import numpy as np


def shingles(tokens: Sequence[int], length: int, least_distinct: int) -> list[tuple[int, ...] | None]:
    """The shingle that begins at each position; None: it is trivial, or the stream ends before it does."""
    found: list[tuple[int, ...] | None] = []
    for i in range(len(tokens)):
        shingle = tuple(int(token) for token in tokens[i : i + length])
        found.append(shingle if len(shingle) == length and len(set(shingle)) >= least_distinct else None)
    return found


def shared_positions(validation: Sequence[int], train: Sequence[int], length: int, least_distinct: int) -> list[bool]:
    """Whether the shingle of validation that begins at each position begins anywhere in train."""
    known = set(shingles(train, length, least_distinct)) - {None}
    return [shingle in known for shingle in shingles(validation, length, least_distinct)]


def covered(shared: Sequence[bool], length: int) -> list[bool]:
    """Whether each token lies in a shared shingle."""
    return [any(shared[max(0, i - length + 1) : i + 1]) for i in range(len(shared))]


def documents(tokens: Sequence[int], bos_id: int) -> list[tuple[int, tuple[int, ...]]]:
    """Position of the first token after each BOS, and the tokens up to the next; the first may lack its BOS."""
    found = []
    begin = 0
    for i in range(len(tokens) + 1):
        if i == len(tokens) or tokens[i] == bos_id:
            if i > 0:
                found.append((begin, tuple(int(token) for token in tokens[begin:i])))
            begin = i + 1
    return found


def longest_common_tokens(validation: np.ndarray, train: np.ndarray) -> int:
    """The longest run of equal tokens, from all pairs of positions."""
    best = 0
    ends = np.zeros(len(train) + 1, np.int64)  # of the run that ends before each position of train
    for token in validation:
        equal = np.concatenate([[False], train == token])
        ends = np.where(equal, np.concatenate([[0], ends[:-1]]) + 1, 0)
        best = max(best, int(ends.max()))
    return best
