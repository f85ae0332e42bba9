"""Speed of n-gram counting, compared with NumPy tables and Python dictionaries.

Hashed tables, one order and one thread at a time, against the plain NumPy table of the published scripts: per segment
of 64 targets, compute all keys as array operations, look up both arrays, then np.add.at. Exact counts of all orders
together, on one thread, against plain Python dictionaries: per order one for contexts and one for n-grams, keyed by
their tokens. Same tokens, same counts (checked), in turns in the same process.

With --data (default: PGOLF_TEST_DATA, if set) also the whole exact count stage at the size of the challenge's
validation set, orders 2 to 7, one history, all cores, in its own process: from shards to counts.arrow. Its stream is
44,104,199 tokens of real text (the FineWeb prefix and the corpus under --data), then that corpus with permuted ids:
equally repetitive, but sharing n-grams with the earlier text only by chance. The share of new 7-grams is shown for
both. CPU seconds are shown beside wall seconds, which other load lengthens.
"""

import multiprocessing
import os
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s, ratios
from pgolf.corpus.data_files import DataFiles
from pgolf.corpus.shards import HEADER_BYTES, write_shard
from pgolf.corpus.view import link, write_view
from pgolf.counts.config import CountConfig
from pgolf.counts.count_stage import COUNTS_FILE, iterate_counts, make, open_counts
from pgolf.counts.hashed import HashedTable, multipliers
from pgolf.counts.runs import plan_of
from pgolf.run_options import RunOptions

SEGMENT = 64
VOCAB = 1024
# Targets of the challenge's validation set, in whole windows of 2,048.
FULL_TARGETS = 62_021_632
Counts = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]


def zipf_tokens(targets: int, seed: int = 1) -> npt.NDArray[np.uint16]:
    """Independent Zipf-distributed tokens: low orders repeat as often as in text, high orders do not."""
    weights = 1 / np.arange(1, VOCAB + 1)
    return np.random.default_rng(seed).choice(VOCAB, targets + 1, p=weights / weights.sum()).astype(np.uint16)


def plain_hashed(tokens: npt.NDArray[np.uint16], order: int, config: CountConfig) -> Counts:
    """Counts before every target, segment by segment in NumPy."""
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


def hashed(tokens: npt.NDArray[np.uint16], order: int, config: CountConfig) -> Counts:
    """The same counts from pgolf's table; allocating its two arrays is timed, as for the plain one."""
    targets = len(tokens) - 1
    table = HashedTable(order, buckets=config.buckets, primes=config.primes, vocab_size=VOCAB)
    context_T = np.empty(targets, np.uint32)
    full_T = np.empty(targets, np.uint32)
    table.advance(
        tokens,
        np.arange(1, targets + 1),
        np.append(np.arange(SEGMENT, targets, SEGMENT), targets),
        look_up=True,
        add=True,
        context_T=context_T,
        full_T=full_T,
        sample_M=np.empty(0, np.int64),
        mass_M=np.empty(0),
    )
    return context_T, full_T


def plain_exact(tokens: npt.NDArray[np.uint16], orders: Sequence[int]) -> Counts:
    """Exact counts before every target, [O, T], from dictionaries."""
    targets = len(tokens) - 1
    text = tokens.tobytes()  # two bytes per token
    context_OT = np.zeros((len(orders), targets), np.uint32)
    full_OT = np.zeros((len(orders), targets), np.uint32)
    for row, order in enumerate(orders):
        contexts: dict[bytes, int] = {}
        fulls: dict[bytes, int] = {}
        for first in range(1, targets + 1, SEGMENT):
            countable = range(max(first, order - 1), min(first + SEGMENT, targets + 1))
            for j in countable:
                context_OT[row, j - 1] = contexts.get(text[2 * (j - order + 1) : 2 * j], 0)
                full_OT[row, j - 1] = fulls.get(text[2 * (j - order + 1) : 2 * (j + 1)], 0)
            for j in countable:
                context, full = text[2 * (j - order + 1) : 2 * j], text[2 * (j - order + 1) : 2 * (j + 1)]
                contexts[context] = contexts.get(context, 0) + 1
                fulls[full] = fulls.get(full, 0) + 1
    return context_OT, full_OT


def exact(tokens: npt.NDArray[np.uint16], orders: Sequence[int], threads: int = 1) -> Counts:
    """The same counts from pgolf, with fresh tables."""
    config = CountConfig(estimator="exact", orders=tuple(orders), window=SEGMENT, stride=SEGMENT, ranks=1)
    plan = plan_of(config, len(tokens) - 1)
    pieces = list(iterate_counts(config, plan, tokens, vocab_size=VOCAB, threads=threads))
    context_OT, full_OT = (np.concatenate([getattr(p, side) for p in pieces], axis=1) for side in ("context", "full"))
    return context_OT, full_OT


def measure(targets: int, orders: Sequence[int], repeats: int) -> Iterator[Line]:
    """Ratios and speeds; the first call of each table compiles and is not timed."""
    tokens = zipf_tokens(targets)
    config = CountConfig()
    hashed(tokens[:1000], 2, config)
    for order in orders:
        assert all(map(np.array_equal, plain_hashed(tokens, order, config), hashed(tokens, order, config)))
        plain_s, ours_s = in_turns_s(
            [partial(plain_hashed, tokens, order, config), partial(hashed, tokens, order, config)], repeats
        )
        yield Line(f"order {order}: plain / hashed", "times", ratios(plain_s, ours_s), ">= 8")
        yield Line(f"order {order}: hashed", "M targets/s", Spread.of([targets / s / 1e6 for s in ours_s]))
    assert all(map(np.array_equal, plain_exact(tokens, orders), exact(tokens, orders)))
    plain_s, ours_s = in_turns_s([partial(plain_exact, tokens, orders), partial(exact, tokens, orders)], repeats)
    name = f"orders {', '.join(map(str, orders))} together"
    yield Line(f"{name}: dictionaries / exact", "times", ratios(plain_s, ours_s), ">= 8")
    yield Line(f"{name}: exact", "M targets/s", Spread.of([targets / s / 1e6 for s in ours_s]))


def full_stream(data: Path) -> tuple[npt.NDArray[np.uint16], int]:
    """FULL_TARGETS + 1 tokens, and how many of them are real text with unpermuted ids."""

    def tokens_of(path: Path) -> npt.NDArray[np.uint16]:
        content = path.read_bytes()
        if path.suffix == ".zst":
            content = zstandard.ZstdDecompressor().decompress(content)
        return np.frombuffer(content, "<u2", offset=HEADER_BYTES).astype(np.uint16)

    corpus = [tokens_of(path) for path in sorted(data.glob("gpu_corpus/*.bin.zst"))]
    real = np.concatenate([tokens_of(data / "fineweb" / "fineweb_val_prefix_sp1024.bin"), *corpus])
    permuted = np.random.default_rng(0).permutation(VOCAB).astype(np.uint16)[np.concatenate(corpus)]
    return np.concatenate([real, permuted])[: FULL_TARGETS + 1], len(real)


def count_full_size(data: Path) -> list[Line]:
    """The exact count stage on the full-size stream."""
    tokens, real = full_stream(data)
    assert len(tokens) == FULL_TARGETS + 1
    with tempfile.TemporaryDirectory(prefix="pgolf-bench-") as temporary:
        folder = Path(temporary)
        write_shard(folder / "fineweb_val_000000.bin", tokens)
        for name in ("data", "small data", "out"):
            (folder / name).mkdir()
        model = data / "tokenizers" / "fineweb_1024_bpe.model"
        write_view(
            folder / "data", DataFiles(train=(), val=(folder / "fineweb_val_000000.bin",), tokenizer=model), link
        )
        write_shard(folder / "small.bin", tokens[:2049])
        write_view(folder / "small data", DataFiles(train=(), val=(folder / "small.bin",), tokenizer=model), link)
        config = CountConfig(estimator="exact", ranks=1)
        make(config, {"data": folder / "small data"}, folder / "out", RunOptions())  # compiles
        del tokens
        started_s, cpu_started_s = time.perf_counter(), time.process_time()
        make(config, {"data": folder / "data"}, folder / "out", RunOptions())
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_started_s
        rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        new = np.concatenate([columns[-1] == 0 for columns in open_counts(folder / "out" / COUNTS_FILE).blocks()])
    last_real, rest = new[real - 10_000_000 : real].mean(), new[real:].mean()
    name = f"exact count stage, {FULL_TARGETS:,} targets, orders 2 to 7"
    return [
        Line(f"{name}: wall", "s", Spread.of([wall_s]), "<= 600"),
        Line(f"{name}: CPU", "s", Spread.of([cpu_s])),
        Line(f"{name}: speed by wall", "M targets/s", Spread.of([FULL_TARGETS / wall_s / 1e6])),
        Line(f"{name}: speed by CPU", "M targets/s", Spread.of([FULL_TARGETS / cpu_s / 1e6])),
        Line(f"{name}: peak memory", "GB", Spread.of([rss_bytes / 1e9]), "<= 12"),
        Line("new 7-grams among the last 10,000,000 real targets", "share", Spread.of([float(last_real)])),
        Line("new 7-grams among the targets under permuted ids", "share", Spread.of([float(rest)])),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=5)
    parser.add_argument("--targets", type=int, default=1_000_000, help="tokens counted (default: %(default)s)")
    parser.add_argument("--orders", type=int, nargs="+", default=CountConfig().orders, help="default: %(default)s")
    parser.add_argument("--data", type=Path, default=os.environ.get("PGOLF_TEST_DATA"), help="folder of test data")
    options = parser.parse_args(argv)
    lines = list(measure(options.targets, options.orders, options.repeats))
    if options.data is not None:
        # In a separate process, so that its peak memory is this stage's.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            lines += pool.submit(count_full_size, options.data).result()
    title = f"n-gram counts, {options.targets:,} targets in segments of {SEGMENT}, one thread"
    show(
        Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.count_speed", *argv]), lines),
        as_json=options.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
