"""Collects what the tables and the store know of some runs, and writes their report."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pgolf.errors import ResultsError
from pgolf.pipeline.details import Output, details_of
from pgolf.report.page import page
from pgolf.report.run_tables import RunTables
from pgolf.store.artifact import Store
from pgolf.store.durable import put, write_synced
from pgolf.store.durable_folder import make_folder
from pgolf.tables.declared_seeds import declared_seeds
from pgolf.tables.named_runs import Run, rows_of, run_named, runs_in
from pgolf.tables.parquet import read
from pgolf.tables.schema import ATTEMPTS, SCORES, STAGES

REPORTS = "reports"
# Columns of the stage rows that a page does without; a map of phases is slow to turn into Python.
_STAGE_COLUMNS = ("run_key", "node", "stage", "seed", "key", "folder", "built", "wall_s", "started_utc")


def write_report(
    names: Sequence[str],
    results: Path,
    store: Store | None,
    *,
    out: Path | None = None,
    price_per_hour: float | None = None,
    sentence: str | None = None,
) -> Path:
    """Write the page of these runs and return its path; an earlier page is replaced.

    names: as `pgolf.tables.named_runs.run_named` takes them. store: where outputs may still lie; what the tables hold
    of them already is shown without. out: default results/reports/<run key>.html. price_per_hour, sentence: see
    `pgolf.report.page.page`. Raises ConfigError for a run that there is not, ResultsError for rows that cannot be read
    and a page that cannot be written.
    """
    known = runs_in(results)
    runs = list({run.key: run for run in (run_named(name, known) for name in names)}.values())
    path = out or results / REPORTS / f"{'+'.join(run.key for run in runs)[:180]}.html"
    text = page(_tables(runs, results, store), sentence=sentence, price_per_hour=price_per_hour)
    write_page(path, text, option="--out")
    return path


def _tables(runs: Sequence[Run], results: Path, store: Store | None) -> list[RunTables]:
    stages = _rows(read(results, STAGES, columns=_STAGE_COLUMNS))
    found = []
    for run in runs:
        mine = [row for row in stages if row["run_key"].rpartition("-")[0] == run.key or row["run_key"] == run.key]
        keys = {row["key"] for row in mine}
        outputs = {row["node"]: Output(row["node"], row["stage"], row["seed"], row["folder"]) for row in mine}
        details = details_of(list(outputs.values()), results, store)
        missing = list(details.missing)
        if not mine:
            missing.append(f"no stage rows of {run.key}: nothing is known of its outputs, nor of its time")
        scores = read(results, SCORES, {"run_key": run.key}, run_keys=run.key)
        configurations = set(scores.column("config_key").unique().to_pylist()) - {None}
        found.append(
            RunTables(
                run=run,
                scores=scores,
                attempts=_rows(rows_of(read(results, ATTEMPTS, run_keys=run.key), ATTEMPTS, [run])),
                stages=mine,
                made=[row for row in stages if row["key"] in keys and row["built"]],
                details=details.tables,
                missing=missing,
                declared_seeds=declared_seeds(results, config_keys=configurations),
            )
        )
    return found


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with their moments in microseconds since the epoch: as datetimes they would need a time zone database."""
    place = table.column_names.index("started_utc")
    return table.set_column(place, "started_utc", table.column("started_utc").cast(pa.int64())).to_pylist()  # type: ignore[no-any-return]


def write_page(path: Path, text: str, *, option: str) -> None:
    """Write a page, whole or not at all. option: which names another file. Raises ResultsError where it cannot be."""
    unfinished = path.with_name(f".{path.name[:120]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        make_folder(path.parent)
        try:
            write_synced(unfinished, text.encode())
            put(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ResultsError(
            f"the report could not be written to {path}: {error.strerror or error}; the tables are as they were; name "
            f"another file with {option}"
        ) from error
