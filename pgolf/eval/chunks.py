"""Chunks of the validation stream: the windows scored and the rows learned in each.

A chunk is `chunk_tokens` consecutive positions; its windows are those whose first *scored* position lies in it.
Position and target as in `pgolf.eval.windows`. Arrays are int64.
Source: test-time training in openai/parameter-golf PRs #745 (score a chunk, then learn it) and #761 (learn all first).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pgolf.eval.ttt_config import TttConfig
from pgolf.eval.windows import Int64Array, WindowPlan


def window_bounds(plan: WindowPlan, chunk_tokens: int) -> Int64Array:
    """Bounds [K + 1] of the chunks' windows: chunk c scores windows bounds[c] .. bounds[c + 1] - 1.

    Every target up to the end of chunk c is scored in chunks 0 .. c, so a network that has learned chunks 0 .. c - 1
    has seen no target that it has yet to score.
    """
    chunks = -(-plan.targets // chunk_tokens)
    bounds: Int64Array = np.searchsorted(plan.score_from, np.arange(chunks + 1, dtype=np.int64) * chunk_tokens)
    return bounds


def learned_rows(targets: int, config: TttConfig) -> Int64Array:
    """Number of rows to learn in each chunk that is learned at all.

    Row i of chunk c reads `sequence_length` positions starting at c · chunk_tokens + i · sequence_length; an incomplete
    row at the end of the stream is dropped. score_first does not learn the last chunk, after which nothing is scored;
    adapt_first learns every chunk that starts before targets - sequence_length, as #761 does.
    """
    if config.order == "score_first":
        starts = np.arange(0, targets, config.chunk_tokens, dtype=np.int64)[:-1]
    else:
        starts = np.arange(0, targets - config.sequence_length, config.chunk_tokens, dtype=np.int64)
    return np.minimum(config.chunk_tokens, targets - starts) // config.sequence_length


def shares(count: int, parts: int) -> Int64Array:
    """Bounds [parts + 1] of `parts` contiguous shares of `count` items: floor(count · r / parts)."""
    return count * np.arange(parts + 1, dtype=np.int64) // parts


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Windows that run in one forward pass: batch `batch` of rank `rank` in chunk `chunk`, as in the published code."""

    chunk: int
    rank: int
    batch: int
    windows: range


def window_batches(chunk: int, windows: range, *, ranks: int, size: int) -> Iterator[WindowBatch]:
    """Split a chunk's windows into one share per rank, and each share into batches of `size`, in stream order.

    With tail "once" the plan lacks the windows that only repeat targets, so the last chunk's shares are smaller.
    """
    bounds = (windows.start + shares(len(windows), ranks)).tolist()
    for rank, (first, last) in enumerate(itertools.pairwise(bounds)):
        for batch, start in enumerate(range(first, last, size)):
            yield WindowBatch(chunk, rank, batch, range(start, min(start + size, last)))
