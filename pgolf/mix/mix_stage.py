"""The mix stage: a grid of mixtures over one trace, its hints and any number of count stages; one row per cell.

cells.parquet: the network alone first, then the grid, Bayes and fixed-share mixtures, Hedge mixtures. `loss_nats` is
the mean over the scored targets, as in the results tables, `loss_sum_nats` the sum; a column that has no meaning for a
scorer is null. Legacy cells are complete rows: `normalized` tells them apart, and `mass_mean` says what they hand out
in total, where a distribution has 1.

A killed mix goes on behind the last unit whose sums it has kept, and writes the same bytes; the phase `before` holds
the seconds of the runs that were killed. Hedge mixtures begin again: their tables are far larger than what is saved by
keeping them.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.corpus.dataset import Dataset
from pgolf.corpus.shards import Tokens
from pgolf.corpus.target_bytes import TargetBytes
from pgolf.counts.mass import MASS_FILE, read_mass
from pgolf.eval.batch_means import read_batch_means
from pgolf.eval.trace import Trace, trace_is_causal
from pgolf.mix.cells import cells_of, members_of
from pgolf.mix.config import MixConfig
from pgolf.mix.files import CELLS_FILE, COUNTS_ROLE
from pgolf.mix.grid import UNIT_RECORDS, Grid, Unit
from pgolf.mix.hedge_config import HedgeConfig
from pgolf.mix.hedge_pass import Hedges
from pgolf.mix.mix_inputs import MixInputs
from pgolf.mix.mix_progress import MixProgress
from pgolf.mix.mix_rows import (
    COLUMNS,
    EntropyAt,
    bayes_facts,
    bayes_rows,
    best_facts,
    grid_rows,
    hedge_facts,
    hedge_rows,
    mass_mean,
    scored,
    settings_of,
)
from pgolf.mix.product import Cell
from pgolf.run_options import Fact, Made, Progress, RunOptions

BATCHES_FILE = "batches.arrow"

_REPORT_EVERY_S = 0.5


def make(config: MixConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Score every cell of the grid; writes cells.parquet.

    inputs: `trace` and `data`, one `counts.<name>` per count stage, and `hints`; none of these are needed for the
    network alone and for Hedge mixtures. Memory does not grow with the trace, but for the token stream (2 bytes a
    token). Raises DataError for files of different records or tokens, and for numbers that are not finite; ConfigError
    for an order that was not counted, a tilt without hints, and a Hedge mixture that the trace lacks batch means for.
    """
    started = time.perf_counter()
    files = MixInputs(inputs)
    counts, hinted = files.counts, files.hinted
    cells = cells_of(config, counts, hinted)
    normalized = [cell for cell in cells if cell.normalized]
    members = [normalized if own.members is None else members_of(own.members, counts, hinted) for own in config.bayes]
    grid = Grid(cells, counts, hinted=hinted or (), bayes=list(zip(config.bayes, members)))
    target_bytes = _ByteSum(files.dataset, files.tokens)
    masses = {
        name: read_mass(inputs[COUNTS_ROLE + name] / MASS_FILE, counts[name].orders)
        for name in counts
        if counts[name].estimator == "hashed"
    }
    entropy_nats = EntropyAt(masses)
    hedges = _hedges(config.hedges, inputs["trace"], files) if config.hedges else None
    listeners = [target_bytes.add, entropy_nats.add, *([hedges.add] if hedges else [])]
    of = {"config": config, "stream": files.stream, "records": files.records, "unit": UNIT_RECORDS}
    progress = MixProgress(run.scratch, of, began_s=started)
    resumed_at = _run(grid, files.units(listeners), files.records, progress, run)

    def settings(listed: Sequence[Cell]) -> list[dict[str, Fact]]:
        hint_config = None if files.hints is None else files.hints.config
        return [settings_of(cell, counts, hint_config) for cell in listed]

    mass_means = [mass_mean(cell, counts, masses, entropy_nats.found) for cell in cells]
    # The totals cover members outside the grid as well; these have no rows of their own.
    rows = grid_rows(cells, settings(cells), grid.totals(), mass_means)
    facts: dict[str, Fact] = {} if resumed_at == 0 else {"resumed_at_record": resumed_at}
    if config.bayes:
        named = [settings(listed) for listed in members]
        rows += bayes_rows(config.bayes, named, grid.mixed())
        facts |= bayes_facts(named, grid.mixed())
    if hedges:
        hedged = hedges.totals()
        rows += hedge_rows(config.hedges, hedged, targets=files.records)
        facts |= hedge_facts(hedged)
    about = {"total_bytes": target_bytes.total, "vocab": files.dataset.vocab_size}
    causal = trace_is_causal(files.trace)
    rows = [scored(row, targets=files.records, causal=causal, **about) for row in rows]
    columns = [pa.array([row[name] for row in rows], kind) for name, kind in COLUMNS]
    pq.write_table(pa.table(columns, schema=pa.schema(COLUMNS)), out / CELLS_FILE, compression="zstd")
    return Made(
        phases_s={"mix": time.perf_counter() - started, **({"before": progress.before_s} if resumed_at else {})},
        facts={"cells": len(rows), "token_points": files.records * len(rows), **best_facts(rows), **facts},
    )


def _run(grid: Grid, units: Iterator[Unit], records: int, progress: MixProgress, run: RunOptions) -> int:
    """Run the grid over the units that are not in its sums yet; returns how many records were, kept by a killed run."""
    resumed_at, sums = progress.load()
    if resumed_at:
        grid.restore(sums)
    done = resumed_at
    reported_s = time.monotonic()

    def after_unit(unit: Unit) -> None:
        nonlocal done, reported_s
        done += len(unit)
        progress.keep(done, grid.state())
        if time.monotonic() - reported_s > _REPORT_EVERY_S:
            reported_s = time.monotonic()
            run.report(Progress(stage="mix", done=done, total=records, unit="targets"))

    run.report(Progress(stage="mix", done=done, total=records, unit="targets"))
    threads = run.threads or len(os.sched_getaffinity(0))
    grid.run(_behind(units, resumed_at), threads=threads, after_unit=after_unit)
    run.report(Progress(stage="mix", done=done, total=records, unit="targets"))
    return resumed_at


def _behind(units: Iterator[Unit], records: int) -> Iterator[Unit]:
    """The units after the first `records` records; the others are read and checked all the same."""
    for unit in units:
        if records > 0:
            records -= len(unit)
            assert records >= 0, "sums are kept between units"
        else:
            yield unit


def _hedges(configs: Sequence[HedgeConfig], trace: Path, files: MixInputs) -> Hedges:
    """The Hedge mixtures, ready for the blocks of the trace in folder `trace`."""
    path = trace / BATCHES_FILE
    means = read_batch_means(path) if path.exists() else None
    return Hedges(configs, files.plan, files.tokens, vocab_size=files.dataset.vocab_size, means=means)


class _ByteSum:
    """Adds up how many bytes of text the targets stand for."""

    def __init__(self, dataset: Dataset, tokens: Tokens) -> None:
        self._target_bytes = TargetBytes(dataset, tokens)
        self.total = 0

    def add(self, trace: Trace) -> None:
        """Add a block of targets."""
        self.total += self._target_bytes.total(trace.target)
