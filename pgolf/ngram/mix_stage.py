"""The mix stage: a grid of mixtures over one trace and any number of count stages; one row per cell.

cells.parquet: the network alone first, then every mixture. `loss_nats` is the mean over the scored targets, as in the
results tables, `loss_sum_nats` the sum; a column that has no meaning for a scorer is null. Legacy cells are complete
rows: `normalized` tells them apart, and `mass_mean` says what they hand out in total, where a distribution has 1.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.dataset import Dataset, open_dataset
from pgolf.corpus.shards import validation_tokens
from pgolf.errors import DataError
from pgolf.eval.batch_means import read_batch_means
from pgolf.eval.bpb import bits_per_byte, nats_to_bits
from pgolf.eval.trace import Trace, count_records, iterate_trace, read_plan, trace_is_causal
from pgolf.eval.windows import WindowPlan
from pgolf.ngram.config import CountConfig
from pgolf.ngram.count import COUNTS_FILE, CountFile, open_counts
from pgolf.ngram.grid import UNIT_RECORDS, Cell, Grid, Totals, Unit, cells_of, rule_of
from pgolf.ngram.hedge_config import HedgeConfig
from pgolf.ngram.hedge_pass import Hedges, HedgeTotals
from pgolf.ngram.mass import MASS_FILE, MassSample, read_mass
from pgolf.ngram.mix import adaptive_alpha, first_hit, legacy_mass
from pgolf.ngram.mix_config import MixConfig
from pgolf.ngram.runs import plan_of
from pgolf.run import Fact, Made, Progress, RunOptions

TRACE_FILE = "trace.arrow"
BATCHES_FILE = "batches.arrow"
CELLS_FILE = "cells.parquet"
COUNTS_ROLE = "counts."

COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("estimator", pa.string()),
    ("counts", pa.string()),
    ("mixer", pa.string()),
    ("order", pa.int64()),
    ("alpha", pa.float64()),
    ("min_count", pa.int64()),
    ("entropy_base", pa.float64()),
    ("entropy_range", pa.float64()),
    ("entropy_slope", pa.float64()),
    ("entropy_threshold_nats", pa.float64()),
    ("granularity", pa.string()),
    ("ranks", pa.int64()),
    ("cell", pa.string()),
    ("normalized", pa.bool_()),
    ("causal", pa.bool_()),
    ("vocab", pa.int64()),
    ("targets", pa.int64()),
    ("bytes", pa.int64()),
    ("matched", pa.int64()),
    ("loss_sum_nats", pa.float64()),
    ("loss_nats", pa.float64()),
    ("bits", pa.float64()),
    ("bpb", pa.float64()),
    ("mass_mean", pa.float64()),
)


def make(config: MixConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Score every cell of the grid; writes cells.parquet.

    inputs: `trace` and `data`, and one `counts.<name>` per count stage; none are needed for the network alone and for
    Hedge mixtures. Memory does not grow with the trace, but for the token stream (2 bytes a token).
    Raises DataError for trace and counts of different records, ConfigError for an order that was not counted, and for
    a Hedge mixture that the trace lacks batch means for.
    """
    started = time.perf_counter()
    dataset = open_dataset(inputs["data"])
    trace_path = inputs["trace"] / TRACE_FILE
    records = count_records(trace_path)
    if records == 0:
        raise DataError(f"{trace_path} has no records, so there is nothing to mix; score again")
    tokens = validation_tokens(dataset, window=1)
    files = {
        role.removeprefix(COUNTS_ROLE): open_counts(folder / COUNTS_FILE)
        for role, folder in sorted(inputs.items())
        if role.startswith(COUNTS_ROLE)
    }
    counts = {name: file.config for name, file in files.items()}
    plans = {name: _plan_of_file(name, file, len(tokens), records) for name, file in files.items()}
    cells = cells_of(config, counts)
    target_bytes = _ByteSum(dataset, tokens)
    masses = {
        name: read_mass(inputs[COUNTS_ROLE + name] / MASS_FILE, counts[name].orders)
        for name in counts
        if counts[name].estimator == "hashed"
    }
    entropy_nats = _EntropyAt(masses)
    hedges = _hedges(config.hedges, inputs["trace"], tokens, dataset.vocab_size) if config.hedges else None
    listeners = [target_bytes.add, entropy_nats.add, *([hedges.add] if hedges else [])]
    threads = run.threads or len(os.sched_getaffinity(0))
    units = _units(iterate_trace(trace_path), files, plans, listeners, records, run)
    totals = Grid(cells, counts).run(units, threads=threads)
    mass_means = [_mass_mean(cell, counts, masses, entropy_nats.found) for cell in cells]
    rows = _rows(cells, totals, mass_means, counts)
    facts: dict[str, Fact] = {}
    if hedges:
        hedged = hedges.totals()
        rows += _hedge_rows(config.hedges, hedged, targets=records)
        facts = {f"hedge_{number}_shares": _named_shares(total) for number, total in enumerate(hedged)}
    causal = trace_is_causal(trace_path)
    rows = [
        _scored(row, targets=records, total_bytes=target_bytes.total, vocab=dataset.vocab_size, causal=causal)
        for row in rows
    ]
    columns = [pa.array([row[name] for row in rows], kind) for name, kind in COLUMNS]
    pq.write_table(pa.table(columns, schema=pa.schema(COLUMNS)), out / CELLS_FILE, compression="zstd")
    return Made(
        phases_s={"mix": time.perf_counter() - started},
        facts={"cells": len(rows), "token_points": records * len(rows), **_best(rows), **facts},
    )


def _hedges(configs: Sequence[HedgeConfig], trace: Path, tokens: npt.NDArray[np.uint16], vocab_size: int) -> Hedges:
    """The Hedge mixtures, ready for the blocks of the trace in folder `trace`."""
    plan = read_plan(trace / TRACE_FILE)
    if plan.targets >= len(tokens):
        raise DataError(
            f"the trace was scored on {plan.targets:,} targets, the validation stream has {len(tokens) - 1:,}; "
            "mix a trace with the data it was scored on"
        )
    path = trace / BATCHES_FILE
    means = read_batch_means(path) if path.exists() else None
    return Hedges(configs, plan, tokens, vocab_size=vocab_size, means=means)


def _named_shares(total: HedgeTotals) -> str:
    """The final weights in words: network 0.981, unigram 0.002, …"""
    return ", ".join(f"{name} {share:.3g}" for name, share in total.shares.items())


def _plan_of_file(name: str, file: CountFile, stream_tokens: int, records: int) -> WindowPlan:
    """The windows a count stage ran over; DataError unless they give as many records as trace and counts have."""
    window = file.config.window
    targets = (stream_tokens - 1) // window * window
    if targets < 1:
        raise DataError(
            f"counts {name!r} were taken at window {window:,}, the validation stream has {stream_tokens:,} tokens: "
            "less than one window; mix counts and trace of the same data"
        )
    plan = plan_of(file.config, targets)
    if not file.records == plan.records == records:
        raise DataError(
            f"the trace has {records:,} records and counts {name!r} {file.records:,}, where {targets:,} targets at "
            f"window {window:,}, stride {file.config.stride:,} and tail {file.config.tail} make {plan.records:,}; "
            "score and count the same data with the same window, stride and tail"
        )
    return plan


class _ByteSum:
    """Adds up how many bytes of text the targets stand for."""

    def __init__(self, dataset: Dataset, tokens: npt.NDArray[np.uint16]) -> None:
        self._table = ByteTable.from_tokenizer(dataset.tokenizer_model, vocab_size=dataset.vocab_size)
        self._tokens = tokens
        self.total = 0

    def add(self, trace: Trace) -> None:
        """Add a block of targets; DataError for one that the stream does not have."""
        first, last = int(trace.target.min()), int(trace.target.max())
        if first < 1 or last >= len(self._tokens):
            raise DataError(
                f"the trace has targets {first:,} to {last:,}, the validation stream 1 to {len(self._tokens) - 1:,}; "
                "mix a trace with the data it was scored on"
            )
        lengths = self._table.target_bytes(self._tokens[first - 1 : last + 1])
        self.total += int(lengths[trace.target - first].sum())


class _EntropyAt:
    """Picks out of a passing trace the entropies at sampled records, per count stage."""

    def __init__(self, samples: Mapping[str, MassSample]) -> None:
        self._samples = samples
        self._seen = 0
        self.found = {name: np.empty(len(sample.record), np.float32) for name, sample in samples.items()}

    def add(self, trace: Trace) -> None:
        """Look at the next block of the trace."""
        for name, sample in self._samples.items():
            here = slice(*np.searchsorted(sample.record, (self._seen, self._seen + len(trace))))
            self.found[name][here] = trace.entropy_nats[sample.record[here] - self._seen]
        self._seen += len(trace)


def _mass_mean(
    cell: Cell,
    counts: Mapping[str, CountConfig],
    masses: Mapping[str, MassSample],
    entropy_nats: Mapping[str, npt.NDArray[np.float32]],
) -> float:
    """Mean over the sampled records of the total a cell hands out over the vocabulary; 1 for a distribution."""
    if cell.counts is None or cell.normalized:
        return 1.0
    sample = masses[cell.counts]
    rule = rule_of(cell, counts[cell.counts].orders)
    rows = sorted(rule.rows)
    hit = first_hit(sample.context[rows], rule.min_count)
    mass_M = sample.mass[rows][hit, np.arange(len(hit))]
    if cell.alpha is not None:
        return float(legacy_mass(cell.alpha, mass_M, hit >= 0).mean())
    assert cell.entropy_base is not None
    assert cell.entropy_range is not None
    assert cell.entropy_slope is not None
    assert cell.entropy_threshold_nats is not None
    alpha_M = adaptive_alpha(
        entropy_nats[cell.counts],
        base=cell.entropy_base,
        span=cell.entropy_range,
        slope=cell.entropy_slope,
        threshold_nats=cell.entropy_threshold_nats,
    )
    return float(legacy_mass(alpha_M, mass_M, hit >= 0).mean())


def _units(
    blocks: Iterator[Trace],
    files: Mapping[str, CountFile],
    plans: Mapping[str, WindowPlan],
    listeners: Sequence[Callable[[Trace], None]],
    records: int,
    run: RunOptions,
) -> Iterator[Unit]:
    """Cut trace and counts, block by block, into units; checks that both speak of the same targets.

    Every listener is shown each block of the trace once.
    """
    readers = {name: file.blocks() for name, file in files.items()}
    done = 0
    reported = time.monotonic()
    for trace in blocks:
        for listener in listeners:
            listener(trace)
        columns = {name: next(reader) for name, reader in readers.items()}
        for name, plan in plans.items():
            expected = plan.targets_of_records(done, done + len(trace))
            if not np.array_equal(trace.target, expected) or len(columns[name][0]) != len(trace):
                raise DataError(
                    f"records {done:,} to {done + len(trace):,} of the trace are not the targets that counts {name!r} "
                    "are of; score and count the same data with the same window, stride and tail"
                )
        for first in range(0, len(trace), UNIT_RECORDS):
            part = slice(first, first + UNIT_RECORDS)
            yield Unit(
                trace.loss_nats[part],
                trace.entropy_nats[part],
                {name: [column[part] for column in columns[name]] for name in columns},
            )
            if time.monotonic() - reported > 0.5:
                reported = time.monotonic()
                run.report(Progress(stage="mix", done=done + first, total=records, unit="targets"))
        done += len(trace)
    run.report(Progress(stage="mix", done=done, total=records, unit="targets"))


def _rows(
    cells: Sequence[Cell],
    totals: Totals,
    mass_means: Sequence[float],
    counts: Mapping[str, CountConfig],
) -> list[dict[str, Fact]]:
    """One row per cell of the grid, in the order of the cells: what it is and what it came to."""
    rows = []
    for number, cell in enumerate(cells):
        settings = asdict(cell)
        if cell.counts is not None:
            settings["granularity"] = str(counts[cell.counts].granularity)
            settings["ranks"] = counts[cell.counts].ranks
        rows.append(
            settings
            | {
                "cell": json.dumps({name: value for name, value in settings.items() if value is not None}),
                "normalized": cell.normalized,
                "matched": None if cell.counts is None else int(totals.matched[number]),
                "loss_sum_nats": float(totals.loss_nats[number]),
                "mass_mean": mass_means[number],
            }
        )
    return rows


def _hedge_rows(
    configs: Sequence[HedgeConfig], totals: Sequence[HedgeTotals], *, targets: int
) -> list[dict[str, Fact]]:
    """One row per Hedge mixture, in the order of the configs."""
    rows = []
    for config, total in zip(configs, totals, strict=True):
        settings: dict[str, Fact] = {
            "estimator": "hedge",
            "mixer": f"hedge-{config.experts}",
            "order": 3,
            "granularity": str(config.chunk_tokens),
        }
        # Whatever else sets it apart from the default: without it two cells could be one row of the tables.
        others = config.model_dump(exclude_defaults=True, exclude={"experts", "chunk_tokens"})
        rows.append(
            settings
            | {
                "cell": json.dumps(settings | others),
                "normalized": config.normalized,
                "matched": total.mixed,
                "loss_sum_nats": total.loss_nats,
                "mass_mean": total.mass / targets,
            }
        )
    return rows


def _scored(row: Mapping[str, Fact], *, targets: int, total_bytes: int, vocab: int, causal: bool) -> dict[str, Fact]:
    """A row with every column: its score per target and per byte, and what it shares with all others."""
    loss_nats = row["loss_sum_nats"]
    assert isinstance(loss_nats, float)
    return (
        dict.fromkeys((name for name, _ in COLUMNS), None)
        | dict(row)
        | {
            # As the trace is: a mixture adds counts of what was scored before, and a gate and weights that never see
            # the target.
            "causal": causal,
            "vocab": vocab,
            "targets": targets,
            "bytes": total_bytes,
            "loss_nats": loss_nats / targets,
            "bits": nats_to_bits(loss_nats),
            "bpb": bits_per_byte(loss_nats, total_bytes),
        }
    )


def _best(rows: Sequence[Mapping[str, Fact]]) -> dict[str, Fact]:
    """The network's score, and the lowest honest and the lowest legacy score of the grid with their cells."""
    facts: dict[str, Fact] = {"neural_bpb": rows[0]["bpb"]}
    for label, normalized in (("honest", True), ("legacy", False)):
        group = [row for row in rows if row["normalized"] is normalized]
        if group:
            best = min(group, key=lambda row: float(row["bpb"] if row["bpb"] is not None else math.inf))
            facts |= {f"best_{label}_bpb": best["bpb"], f"best_{label}_cell": best["cell"]}
    return facts
