"""Speed of comparing validation with training by shingles of 64 tokens, against plain NumPy, and at full size.

Plain: a polynomial hash of every shingle from wrapped cumulative sums, all of them sorted, and np.searchsorted: how
many shingles of validation have an equal hash in training. It compares no tokens, and holds 24 bytes per token of
training. Ours also finds covered tokens, documents, runs and places, compares all tokens, and holds a piece of training
at a time. Same streams, same shared shingles (checked), in turns in the same process, one thread.

At full size: the challenge's 62,021,846 validation tokens against --shards made-up shards of --shard-tokens each,
written to --folder first and removed afterwards, in a process of its own, on all cores. Tokens are independent and
Zipf-like, documents have 1,240 tokens on average, one in 50 holds one of 1,000 passages of 200 tokens; 100 documents of
validation stand in training (checked: they are found). Other load lengthens wall seconds, not CPU seconds.
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

from bench.measured import Line, Report, arguments_parser, show
from bench.timing import Spread, in_turns_s, ratios
from pgolf.audit.overlap import LENGTH, Overlap, overlap_of
from pgolf.corpus.shards import write_shard

Tokens = npt.NDArray[np.uint16]

BOS = 1
VOCAB = 1024
VALIDATION_TOKENS = 62_021_846
SHARD_TOKENS = 100_000_000
# Shards of the challenge.
ALL_SHARDS = 80
DOCUMENT_TOKENS = 1240
PLANTED = 100


def made_up(tokens: int, seed: int) -> Tokens:
    """Documents of Zipf-like tokens, some with a passage that others have, too."""
    weights = 1 / np.arange(1, VOCAB - 1)
    ids = np.searchsorted(np.cumsum(weights) / weights.sum(), np.linspace(0, 1, 1 << 16, endpoint=False)) + 2
    by_chance = ids.astype(np.uint16)
    passages = by_chance[np.random.default_rng(0).integers(0, 1 << 16, (1000, 200))]
    rng = np.random.default_rng(seed)
    stream = by_chance[rng.integers(0, 1 << 16, tokens, dtype=np.uint16)]
    starts = np.unique(rng.integers(0, tokens, max(1, tokens // DOCUMENT_TOKENS)))
    starts[0] = 0
    longer = np.diff(starts, append=tokens) > 202  # a passage alone would be a document twice
    for start in starts[longer & (rng.random(len(starts)) < 1 / 50)]:
        stream[start + 1 : start + 201] = passages[rng.integers(len(passages))]
    stream[starts] = BOS
    return stream


def plain(validation: Tokens, train: Tokens, length: int = LENGTH) -> int:
    """Shingles of validation with an equal hash in training."""
    base, inverse = 0x9E3779B97F4A7C15, pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    values = np.random.default_rng(7).integers(0, 1 << 64, 1 << 16, dtype=np.uint64)

    def hashes(tokens: Tokens) -> npt.NDArray[np.uint64]:
        powers = np.cumprod(np.concatenate([[np.uint64(1)], np.full(len(tokens) - 1, base, np.uint64)]))
        sums = np.concatenate([[np.uint64(0)], np.cumsum(values[tokens] * powers)])
        back = np.cumprod(np.concatenate([[np.uint64(1)], np.full(len(tokens) - length, inverse, np.uint64)]))
        return (sums[length:] - sums[:-length]) * back

    # np.isin takes thirty times as long.
    known, looked_for = np.sort(hashes(train)), np.sort(hashes(validation))
    at = np.minimum(np.searchsorted(known, looked_for), len(known) - 1)
    return int((known[at] == looked_for).sum())


def measure(validation_tokens: int, train_tokens: int, repeats: int) -> Iterator[Line]:
    """Ratio and speed; the first call compiles and is not timed."""
    validation, train = made_up(validation_tokens, 1), made_up(train_tokens, 2)
    with tempfile.TemporaryDirectory(prefix="pgolf-bench-") as folder:
        shard = Path(folder) / "fineweb_train_000000.bin"
        write_shard(shard, train)
        ours = partial(overlap_of, validation, [shard], bos_id=BOS, threads=1)
        assert ours().validation.shared_shingles == plain(validation, train)
        plain_s, ours_s = in_turns_s([partial(plain, validation, train), ours], repeats)
    yield Line("plain / ours", "times", ratios(plain_s, ours_s))
    yield Line("ours, indexing and looking up", "M tokens/s", Spread.of([train_tokens / s / 1e6 for s in ours_s]))


def at_full_size(folder: Path, shards: int, shard_tokens: int, validation_tokens: int) -> list[Line]:
    """Seconds and memory with so many shards, which are written and removed here."""
    validation = made_up(validation_tokens, 1)
    starts = np.flatnonzero(validation == BOS)
    long_enough = np.flatnonzero(np.diff(starts) > 2 * LENGTH)
    planted = np.random.default_rng(3).choice(long_enough, PLANTED, replace=False)
    with tempfile.TemporaryDirectory(prefix="pgolf-bench-", dir=folder) as temporary:
        paths = [Path(temporary) / f"fineweb_train_{index:06d}.bin" for index in range(shards)]
        for index, path in enumerate(paths):
            tokens = made_up(shard_tokens, 2 + index)
            for document in planted[index::shards]:
                copied = validation[starts[document] : starts[document + 1]]
                at = np.flatnonzero(tokens == BOS)[len(copied) % 7 + 7]
                tokens = np.concatenate([tokens[:at], copied, tokens[at:]])
            write_shard(path, tokens[:shard_tokens])
        del tokens
        started_s, cpu_started_s = time.perf_counter(), time.process_time()
        told_s: list[float] = []

        def note(_done: int, _total: int) -> None:
            told_s.append(time.perf_counter() - started_s)

        found = overlap_of(validation, paths, bos_id=BOS, progress=note)
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_started_s
    return list(_full_size_lines(found, wall_s, cpu_s, told_s[-1] - told_s[0]))


def _full_size_lines(found: Overlap, wall_s: float, cpu_s: float, reading_s: float) -> Iterator[Line]:
    assert found.validation.identical_documents == PLANTED
    rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    shards = len(found.shards)
    name = f"{found.validation.tokens:,} against {shards} × {found.shards[0].tokens:,} tokens"
    yield Line(f"{name}: wall", "s", Spread.of([wall_s]), "<= 900")
    yield Line(f"{name}: CPU", "s", Spread.of([cpu_s]))
    if shards != ALL_SHARDS:
        whole_s = wall_s + reading_s * (ALL_SHARDS / shards - 1)
        yield Line(f"with {ALL_SHARDS} shards, by what these took: wall", "s", Spread.of([whole_s]), "<= 900")
    yield Line(f"{name}: peak memory", "GB", Spread.of([rss_bytes / 1e9]), "<= 8")
    yield Line("planted documents found", "documents", Spread.of([found.validation.identical_documents]))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=5)
    parser.add_argument("--train-tokens", type=int, default=5_000_000, help="of the ratio (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=4, help="at full size, 0: none (default: %(default)s)")
    parser.add_argument("--shard-tokens", type=int, default=SHARD_TOKENS, help="default: %(default)s")
    parser.add_argument("--validation-tokens", type=int, default=VALIDATION_TOKENS, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="for the shards, 0.2 GB each (default: a temporary one)")
    options = parser.parse_args(argv)
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"--folder {options.folder}: no folder; make it first, or leave the option out")
    lines = list(measure(options.train_tokens // 10, options.train_tokens, options.repeats))
    if options.shards:
        # In a separate process, so that its peak memory is this comparison's.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            arguments = (options.folder, options.shards, options.shard_tokens, options.validation_tokens)
            lines += pool.submit(at_full_size, *arguments).result()
    title = f"Overlap of validation and training, {os.cpu_count()} cores at full size"
    report = Report.of(title, __doc__ or "", shlex.join(["python", "-m", "bench.overlap_speed", *argv]), lines)
    show(report, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
