"""Speed of the n-gram tables against the plain NumPy table, one order and one thread at a time.

The plain table is the published way: per segment of 64 targets, keys of all of them as array operations, look both
arrays up, then np.add.at. Same tokens, same counts (checked), in turns in the same process.
"""

import shlex
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from bench.report import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s, ratios
from pgolf.ngram.config import CountConfig
from pgolf.ngram.count import Table, table_of
from pgolf.ngram.hashed import multipliers

SEGMENT = 64
VOCAB = 1024
Counts = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]


def zipf_tokens(targets: int, seed: int = 1) -> npt.NDArray[np.uint16]:
    """Independent tokens, the k-th most frequent as 1/k: like text in how often low orders repeat, unlike in high."""
    weights = 1 / np.arange(1, VOCAB + 1)
    return np.random.default_rng(seed).choice(VOCAB, targets + 1, p=weights / weights.sum()).astype(np.uint16)


def plain_counts(tokens: npt.NDArray[np.uint16], order: int, config: CountConfig) -> Counts:
    """Counts seen by every target, segment by segment in NumPy."""
    targets = len(tokens) - 1
    primes = multipliers(order, config.primes)
    mask = np.uint64(config.buckets - 1)
    context_table = np.zeros(config.buckets, np.uint32)
    full_table = np.zeros(config.buckets, np.uint32)
    context_T = np.zeros(targets, np.uint32)
    full_T = np.zeros(targets, np.uint32)
    x = tokens.astype(np.uint64)
    for first in range(1, targets + 1, SEGMENT):
        j = np.arange(max(first, order - 1), min(first + SEGMENT, targets + 1))
        if len(j) == 0:
            continue
        key = np.zeros(len(j), np.uint64)
        for k in range(order - 1):
            key ^= x[j - order + 1 + k] * primes[k]
        context = (key & mask).astype(np.int64)
        full = ((key ^ (x[j] * primes[order - 1])) & mask).astype(np.int64)
        context_T[j - 1] = context_table[context]
        full_T[j - 1] = full_table[full]
        np.add.at(context_table, context, 1)
        np.add.at(full_table, full, 1)
    return context_T, full_T


def table_counts(tokens: npt.NDArray[np.uint16], table: Table) -> Counts:
    """The same counts from pgolf's table, on one thread."""
    targets = len(tokens) - 1
    context_T = np.empty(targets, np.uint32)
    full_T = np.empty(targets, np.uint32)
    ends = np.append(np.arange(SEGMENT, targets, SEGMENT), targets)
    target_T = np.arange(1, targets + 1)
    table.advance(
        tokens,
        target_T,
        ends,
        look_up=True,
        add=True,
        context_T=context_T,
        full_T=full_T,
        sample_M=np.empty(0, np.int64),
        mass_M=np.empty(0),
    )
    return context_T, full_T


def new_table_counts(tokens: npt.NDArray[np.uint16], config: CountConfig, order: int) -> Counts:
    """The same from a new table: its two empty arrays are part of the work, as they are of the plain table's."""
    return table_counts(tokens, table_of(config, order, VOCAB))


def measure(targets: int, orders: Sequence[int], repeats: int) -> list[Line]:
    """Ratios and speeds per order; the first call of each table compiles it and is not timed."""
    tokens = zipf_tokens(targets)
    hashed, exact = CountConfig(), CountConfig(estimator="exact")
    for config in (hashed, exact):
        new_table_counts(tokens[:1000], config, 2)
    lines = []
    for order in orders:
        plain = plain_counts(tokens, order, hashed)
        assert all(map(np.array_equal, plain, new_table_counts(tokens, hashed, order)))
        plain_s, hashed_s, exact_s = in_turns_s(
            [
                partial(plain_counts, tokens, order, hashed),
                partial(new_table_counts, tokens, hashed, order),
                partial(new_table_counts, tokens, exact, order),
            ],
            repeats,
        )
        lines += [
            Line(f"order {order}: plain / hashed", "times", ratios(plain_s, hashed_s), ">= 8"),
            Line(f"order {order}: hashed", "M targets/s", Spread.of([targets / s / 1e6 for s in hashed_s])),
            Line(f"order {order}: exact", "M targets/s", Spread.of([targets / s / 1e6 for s in exact_s])),
        ]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=5)
    parser.add_argument("--targets", type=int, default=1_000_000, help="tokens counted (default: %(default)s)")
    parser.add_argument("--orders", type=int, nargs="+", default=CountConfig().orders, help="default: %(default)s")
    options = parser.parse_args(argv)
    title = f"n-gram counts, {options.targets:,} targets in segments of {SEGMENT}, one thread"
    lines = measure(options.targets, options.orders, options.repeats)
    show(
        Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.counts", *argv]), lines),
        as_json=options.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
