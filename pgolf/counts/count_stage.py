"""The count stage: for every scored target, what the n-gram tables say about it just before it is scored.

counts.arrow, Arrow IPC: one row per record, in the order of the trace; uint32 columns `context_<n>` and `full_<n>` per
order n: how often the n - 1 tokens before the target, and these with the target, were seen in earlier segments of the
same rank. Both are 0 for a target with fewer than n - 1 tokens before it (in its document, where counts are of
documents). The schema's metadata holds the CountConfig and the digest of the stream.
mass.arrow: see `pgolf.counts.mass`.

Shapes: N targets in a stream of N + 1 tokens, T records of a run, M of them sampled, O orders.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import stream_digest, validation_tokens
from pgolf.counts.config import CountConfig
from pgolf.counts.exact import exact_runs
from pgolf.counts.hashed import HashedTable
from pgolf.counts.mass import MASS_FILE, MassSample, sampled_records, write_mass
from pgolf.counts.runs import Run, plan_of, runs_of
from pgolf.eval.arrow_file import ArrowFile
from pgolf.eval.blocks import write_blocks
from pgolf.eval.trace import STREAM_KEY
from pgolf.eval.windows import WindowPlan
from pgolf.run_options import Made, Progress, RunOptions

COUNTS_FILE = "counts.arrow"
CONFIG_KEY = b"pgolf.count_config"
_REMEDY = "count again to write them anew"


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
    Raises DataError or ShardError for data that cannot be used, ConfigError for what hashed tables cannot count.
    """
    started = time.perf_counter()
    config = config.of(config.estimator)
    dataset = open_dataset(inputs["data"])
    # A copy: writable and in memory, so that the compiled loops see one array type whatever the reader returned.
    tokens = np.array(validation_tokens(dataset, window=config.window), np.uint16)
    metadata = {CONFIG_KEY: config.model_dump_json().encode(), STREAM_KEY: stream_digest(tokens).encode()}
    read = time.perf_counter()
    plan = plan_of(config, len(tokens) - 1)
    samples: list[MassSample] = []

    def columns() -> Iterator[list[npt.NDArray[np.uint32]]]:
        done = 0
        threads = run.threads or len(os.sched_getaffinity(0))
        vocab_size, bos_id = dataset.vocab_size, dataset.bos_id
        for counted in iterate_counts(config, plan, tokens, vocab_size=vocab_size, bos_id=bos_id, threads=threads):
            samples.append(MassSample(done + counted.sample, counted.context[:, counted.sample], counted.mass))
            done += counted.context.shape[1]
            yield [*counted.context, *counted.full]

    def report(done: int) -> None:
        run.report(Progress(stage="count", done=done, total=plan.records, unit="targets"))

    schema = pa.schema(_fields(config.orders), metadata=metadata)
    written = write_blocks(out / COUNTS_FILE, schema, columns(), report=report)
    assert written == plan.records, f"{written} of {plan.records} records were counted"
    sample = MassSample(
        np.concatenate([sample.record for sample in samples]),
        np.concatenate([sample.context for sample in samples], axis=1),
        np.concatenate([sample.mass for sample in samples], axis=1),
    )
    write_mass(out / MASS_FILE, config.orders, sample)
    counted = time.perf_counter()
    return Made(
        phases_s={"read": read - started, "count": counted - read},
        facts={
            "estimator": config.estimator,
            "orders": len(config.orders),
            "records": plan.records,
            "ranks": config.ranks,
        },
    )


def iterate_counts(
    config: CountConfig,
    plan: WindowPlan,
    tokens: npt.NDArray[np.uint16],
    *,
    vocab_size: int,
    bos_id: int | None = None,
    threads: int = 1,
) -> Iterator[Counted]:
    """Count, and yield the counts of consecutive runs of records; they do not depend on the number of threads.

    bos_id: the token that starts a document, for counts that end with documents.
    """
    if config.estimator == "exact":
        return _exact_counts(config, plan, tokens, bos_id, threads)
    return _hashed_counts(config, plan, tokens, vocab_size, threads)


def _exact_counts(
    config: CountConfig, plan: WindowPlan, tokens: npt.NDArray[np.uint16], bos_id: int | None, threads: int
) -> Iterator[Counted]:
    sampled = sampled_records(plan.records)
    for run, seen in exact_runs(config, plan, tokens, bos_id=bos_id, threads=threads):
        if run.look_up:
            sample_M = _within(sampled, run)
            # A distribution after every context that was seen, by construction.
            mass_OM = (seen.context[:, sample_M] > 0).astype(np.float64)
            yield Counted(seen.context, seen.count, sample_M, mass_OM)


def _hashed_counts(
    config: CountConfig, plan: WindowPlan, tokens: npt.NDArray[np.uint16], vocab_size: int, threads: int
) -> Iterator[Counted]:
    """Orders advance side by side, one thread each."""
    tables = [
        HashedTable(order, buckets=config.buckets, primes=config.primes, vocab_size=vocab_size)
        for order in config.orders
    ]
    sampled = sampled_records(plan.records)
    with ThreadPoolExecutor(max_workers=max(1, min(threads, len(tables)))) as pool:
        for run in runs_of(config, plan, np.empty(0, np.int64)):
            if run.fresh:
                for table in tables:
                    table.clear()
            target_T = plan.targets_of_records(run.first, run.last)
            # The compiled loops check no bounds.
            assert len(target_T) == run.segment_ends[-1] == run.last - run.first
            assert 1 <= target_T.min() <= target_T.max() < len(tokens)
            sample_M = _within(sampled, run)
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
                    run.segment_ends,
                    look_up=run.look_up,
                    add=run.add,
                    context_T=counted.context[row],
                    full_T=counted.full[row],
                    sample_M=sample_M,
                    mass_M=counted.mass[row],
                )
                for row, table in enumerate(tables)
            ]
            for future in waiting:
                future.result()
            if run.look_up:
                yield counted


def _within(sampled: npt.NDArray[np.int64], run: Run) -> npt.NDArray[np.int64]:
    """Places in the run of the sampled records."""
    return sampled[slice(*np.searchsorted(sampled, (run.first, run.last)))] - run.first


def column_names(orders: Sequence[int]) -> list[str]:
    """Names of the columns of counts.arrow: the orders' context counts, then their full counts."""
    return [f"context_{order}" for order in orders] + [f"full_{order}" for order in orders]


def _fields(orders: Sequence[int]) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.uint32()) for name in column_names(orders)]


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
        file = ArrowFile(self.path, what="n-gram counts", remedy=_REMEDY)
        _require_columns(file, self.config)
        yield from file.blocks()


def open_counts(path: Path) -> CountFile:
    """Look at the output of a count stage, at its metadata alone.

    Raises DataError for a file that is none.
    """
    file = ArrowFile(path, what="n-gram counts", remedy=_REMEDY, mapped=True)
    metadata = file.metadata.get(CONFIG_KEY)
    config = CountConfig.described(metadata, path, how="it was counted", remedy="count again to write it anew")
    _require_columns(file, config)
    return CountFile(path, config, file.records())


def _require_columns(file: ArrowFile, config: CountConfig) -> None:
    file.require(_fields(config.orders), f"orders {config.orders} need others; count again to write them")
