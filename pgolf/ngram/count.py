"""The count stage: for every scored target, what the n-gram tables say about it just before it is scored.

counts.arrow, Arrow IPC: one row per record, in the order of the trace; uint32 columns `context_<n>` and `full_<n>` per
order n: how often the n - 1 tokens before the target, and these with the target, were seen in earlier segments of the
same rank. Both are 0 for a target with fewer than n - 1 tokens before it. The schema's metadata holds the CountConfig.
mass.arrow: see `pgolf.ngram.mass`.

Shapes: N targets in a stream of N + 1 tokens, T records of a run, M of them sampled, O orders.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import stream_digest, validation_tokens
from pgolf.errors import DataError
from pgolf.eval.trace import BLOCK_RECORDS
from pgolf.eval.windows import WindowPlan, plan_windows
from pgolf.ngram.config import CountConfig
from pgolf.ngram.exact import ExactTable
from pgolf.ngram.hashed import HashedTable
from pgolf.ngram.mass import MASS_FILE, MassSample, sampled_records, write_mass
from pgolf.run import Made, Progress, RunOptions

COUNTS_FILE = "counts.arrow"
CONFIG_KEY = b"pgolf.count_config"
STREAM_KEY = b"pgolf.stream"

# Records the tables advance over at a time: the orders meet after each, and 6 orders' counts of it are 12 MiB.
RUN_RECORDS = 1 << 18


class Table(Protocol):
    """Counts of one order, empty at first."""

    def clear(self) -> None:
        """Forget everything."""

    def advance(
        self,
        tokens: npt.NDArray[np.uint16],
        target_T: npt.NDArray[np.int64],
        segment_ends: npt.NDArray[np.int64],
        *,
        look_up: bool,
        add: bool,
        context_T: npt.NDArray[np.uint32],
        full_T: npt.NDArray[np.uint32],
        sample_M: npt.NDArray[np.int64],
        mass_M: npt.NDArray[np.float64],
    ) -> None:
        """Take a run of records segment by segment: look all of a segment up, then add all of it.

        tokens: the whole stream, N + 1 ids. target_T: index in `tokens` of each record's target.
        segment_ends: rising; segment s is records segment_ends[s - 1] .. segment_ends[s] - 1 of the run.
        context_T, full_T: filled with the counts looked up; untouched without look_up, like mass_M.
        sample_M: ascending places in the run; mass_M gets, for each, the sum over the vocabulary of the estimate
        min(full, context) / max(context, 1) that every token would have been given there.
        """


@dataclass(frozen=True, slots=True)
class Run:
    """Records first .. last - 1 of one rank: whole segments, or one piece of a long one (look_up first, add later)."""

    rank: int
    first: int
    last: int
    segment_ends: npt.NDArray[np.int64]
    look_up: bool
    add: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts of consecutive records, [O, T]; and at those in `sample`, places [M] among them, the masses, [O, M]."""

    context: npt.NDArray[np.uint32]
    full: npt.NDArray[np.uint32]
    sample: npt.NDArray[np.int64]
    mass: npt.NDArray[np.float64]


def make(config: CountConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Count the n-grams of the validation stream; writes counts.arrow and mass.arrow.

    inputs: `data`, a folder with a manifest. Memory: the tables, the stream, and one block of counts.
    Raises DataError or ShardError for data that cannot be used.
    """
    started = time.perf_counter()
    dataset = open_dataset(inputs["data"])
    # A copy: writable and in memory, so that the compiled loops see one array type whatever the reader returned.
    tokens = np.array(validation_tokens(dataset, window=config.window), np.uint16)
    read = time.perf_counter()
    plan = plan_of(config, len(tokens) - 1)
    records, sample = _write_counts(out / COUNTS_FILE, config, plan, tokens, dataset.vocab_size, run)
    write_mass(out / MASS_FILE, config.orders, sample)
    counted = time.perf_counter()
    return Made(
        phases_s={"read": read - started, "count": counted - read},
        facts={"estimator": config.estimator, "orders": len(config.orders), "records": records, "ranks": config.ranks},
    )


def plan_of(config: CountConfig, targets: int) -> WindowPlan:
    """The windows whose records are counted."""
    return plan_windows(targets, window=config.window, stride=config.stride, ranks=config.ranks, tail=config.tail)


def table_of(config: CountConfig, order: int, vocab_size: int) -> Table:
    """An empty table of one order."""
    if config.estimator == "exact":
        return ExactTable(order)
    return HashedTable(order, buckets=config.buckets, primes=config.primes, vocab_size=vocab_size)


def iterate_counts(
    config: CountConfig, plan: WindowPlan, tokens: npt.NDArray[np.uint16], *, vocab_size: int, threads: int = 1
) -> Iterator[Counted]:
    """Count, and yield the counts of consecutive runs of records.

    Orders advance side by side, one thread each; the counts do not depend on how many threads there are.
    """
    tables = [table_of(config, order, vocab_size) for order in config.orders]
    sampled = sampled_records(plan.records)
    rank = 0
    with ThreadPoolExecutor(max_workers=max(1, min(threads, len(tables)))) as pool:
        for step in runs_of(config, plan, RUN_RECORDS):
            if step.rank != rank:
                rank = step.rank
                for table in tables:
                    table.clear()
            target_T = plan.targets_of_records(step.first, step.last)
            # The compiled loops check no bounds.
            assert len(target_T) == step.segment_ends[-1] == step.last - step.first
            assert 1 <= target_T.min() <= target_T.max() < len(tokens)
            sample_M = sampled[slice(*np.searchsorted(sampled, (step.first, step.last)))] - step.first
            counts = (len(tables), len(target_T))
            counted = Counted(
                np.zeros(counts, np.uint32),
                np.zeros(counts, np.uint32),
                sample_M,
                np.zeros((len(tables), len(sample_M))),
            )
            waiting = [
                pool.submit(
                    table.advance,
                    tokens,
                    target_T,
                    step.segment_ends,
                    look_up=step.look_up,
                    add=step.add,
                    context_T=counted.context[row],
                    full_T=counted.full[row],
                    sample_M=sample_M,
                    mass_M=counted.mass[row],
                )
                for row, table in enumerate(tables)
            ]
            for future in waiting:
                future.result()
            if step.look_up:
                yield counted


def runs_of(config: CountConfig, plan: WindowPlan, run_records: int) -> Iterator[Run]:
    """Cut the records of every rank into runs of at most `run_records`, in order.

    A segment longer than that is looked up in pieces, then added in pieces.
    """
    for rank in range(plan.ranks):
        own = plan.records_of(rank)
        first = own.start
        while first < own.stop:
            ends = _segment_ends(config, plan, rank, first, run_records)
            last = int(ends[-1])
            if last - first <= run_records:
                yield Run(rank, first, last, ends - first, look_up=True, add=True)
            else:
                for look_up in (True, False):
                    for begin in range(first, last, run_records):
                        end = min(begin + run_records, last)
                        yield Run(rank, begin, end, np.array([end - begin]), look_up=look_up, add=not look_up)
            first = last


def _segment_ends(
    config: CountConfig, plan: WindowPlan, rank: int, first: int, run_records: int
) -> npt.NDArray[np.int64]:
    """Ends of the segments after record `first`, a segment's beginning, up to run_records on; at least the next one."""
    own = plan.records_of(rank)
    if config.granularity == "segment":
        ends = plan.first_record[plan.rank_bounds[rank] + 1 : plan.rank_bounds[rank + 1] + 1]
        begin = int(np.searchsorted(ends, first, side="right"))
        stop = int(np.searchsorted(ends, first + run_records, side="right"))
        return ends[begin : max(stop, begin + 1)]
    segments = max(1, run_records // config.granularity)
    return np.minimum(first + config.granularity * np.arange(1, segments + 1), own.stop)


def column_names(orders: Sequence[int]) -> list[str]:
    """Names of the columns of counts.arrow: the orders' context counts, then their full counts."""
    return [f"context_{order}" for order in orders] + [f"full_{order}" for order in orders]


def _write_counts(
    path: Path,
    config: CountConfig,
    plan: WindowPlan,
    tokens: npt.NDArray[np.uint16],
    vocab_size: int,
    run: RunOptions,
) -> tuple[int, MassSample]:
    """Write all counts in blocks of BLOCK_RECORDS rows, like the trace; returns their number and the sampled masses."""
    fields: list[tuple[str, pa.DataType]] = [(name, pa.uint32()) for name in column_names(config.orders)]
    metadata = {CONFIG_KEY: config.model_dump_json().encode(), STREAM_KEY: stream_digest(tokens).encode()}
    schema = pa.schema(fields, metadata=metadata)
    block = np.empty((len(fields), min(BLOCK_RECORDS, plan.records)), np.uint32)
    samples: list[MassSample] = []
    threads = run.threads or len(os.sched_getaffinity(0))
    filled = written = 0
    reported = time.monotonic()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for counted in iterate_counts(config, plan, tokens, vocab_size=vocab_size, threads=threads):
            samples.append(MassSample(written + counted.sample, counted.context[:, counted.sample], counted.mass))
            counts = np.concatenate([counted.context, counted.full])
            done = 0
            while done < counts.shape[1]:
                take = min(block.shape[1] - filled, counts.shape[1] - done)
                block[:, filled : filled + take] = counts[:, done : done + take]
                filled += take
                done += take
                written += take
                if filled == block.shape[1] or written == plan.records:
                    writer.write_batch(pa.record_batch([pa.array(row[:filled]) for row in block], schema=schema))
                    filled = 0
            if time.monotonic() - reported > 0.5:
                reported = time.monotonic()
                run.report(Progress(stage="count", done=written, total=plan.records, unit="targets"))
    run.report(Progress(stage="count", done=written, total=plan.records, unit="targets"))
    return written, MassSample(
        np.concatenate([sample.record for sample in samples]),
        np.concatenate([sample.context for sample in samples], axis=1),
        np.concatenate([sample.mass for sample in samples], axis=1),
    )


@dataclass(frozen=True, slots=True)
class CountFile:
    """A readable counts.arrow and what it was counted with."""

    path: Path
    config: CountConfig
    records: int

    def blocks(self) -> Iterator[list[npt.NDArray[np.uint32]]]:
        """Yield blocks in order, each a list of columns: context counts by order, then full counts by order.

        Read one at a time, not mapped: mapped pages would count as this process's memory, 3 GB for the challenge's
        validation set.
        """
        with pa.OSFile(str(self.path), "rb") as file, pa.ipc.open_file(file) as reader:
            for number in range(reader.num_record_batches):
                yield [column.to_numpy(zero_copy_only=True) for column in reader.get_batch(number).columns]


def open_counts(path: Path) -> CountFile:
    """Look at the output of a count stage, at its metadata alone.

    Raises DataError for a file that is none.
    """
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as n-gram counts: {error}; count again to write them anew") from error
    described = (reader.schema.metadata or {}).get(CONFIG_KEY)
    if described is None:
        raise DataError(f"{path} does not say how it was counted; count again to write it anew")
    config = CountConfig.model_validate_json(described)
    if reader.schema.names != column_names(config.orders):
        raise DataError(f"{path} has columns {', '.join(reader.schema.names)}; orders {config.orders} need others")
    records = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
    return CountFile(path, config, records)
