"""The by-document stage: the losses of a mix's scorers, document by document or by parts of whole documents.

documents.parquet: one row per document (or part) in the order of the text: `targets` scored in it, their `bytes`, and
whether it was scored `whole`: every target of it, and each once.
losses.parquet: one row per scorer, the network first, in the mix's order: its settings as in `cells.parquet`, and
`document_nats`, its loss summed over each document. A document owns what its own tokens predict, so its last target is
the next one's first token.

The sums of a scorer over all documents are the mix's own. A Bayes mixture's loss of a document is what the document
adds to the loss of the whole, so it is that of a mixture that has read everything before.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.corpus.target_bytes import TargetBytes
from pgolf.errors import ConfigError
from pgolf.eval.document_starts import document_borders, document_shares
from pgolf.mix.by_document_config import ByDocumentConfig
from pgolf.mix.by_document_files import DOCUMENTS_FILE, LOSSES_FILE
from pgolf.mix.cells import cells_of, members_of
from pgolf.mix.grid import Grid, Unit
from pgolf.mix.mix_inputs import MixInputs
from pgolf.mix.mix_rows import Row, bayes_rows, settings_of
from pgolf.mix.product import Cell
from pgolf.run_options import Made, Progress, RunOptions

# Scorers times documents: 1 GB of sums.
MOST_SUMS = 125_000_000

_REPORT_EVERY_S = 0.5

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


def make(config: ByDocumentConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Score the mix's scorers and keep what each document adds; inputs as for the mix stage.

    Raises DataError as the mix stage, and ConfigError for Hedge mixtures, which are scored in chunks of their own, and
    for more sums than memory should hold.
    """
    started = time.perf_counter()
    if config.mix.hedges:
        raise ConfigError("a Hedge mixture is scored chunk by chunk; its losses by document are not known")
    files = MixInputs(inputs)
    counts, hinted = files.counts, files.hinted
    cells = cells_of(config.mix, counts, hinted)
    normalized = [cell for cell in cells if cell.normalized]
    members = [
        normalized if own.members is None else members_of(own.members, counts, hinted) for own in config.mix.bayes
    ]
    bos_id = files.dataset.bos_id
    borders = document_borders(files.tokens[: files.plan.targets + 1], bos_id)
    # The last document may go on where the windows end; and those that are scored again there count twice.
    goes_on = document_borders(files.tokens, bos_id)[len(borders) - 1] > borders[-1]
    if config.parts:
        borders = borders[np.unique(document_shares(borders, config.parts))]
    scorers = len(cells) + len(members)
    if scorers * len(borders) > MOST_SUMS:
        raise ConfigError(
            f"{scorers:,} scorers of {len(borders) - 1:,} documents are more sums than fit; "
            "ask for fewer scorers, or for parts"
        )
    grid = Grid(cells, counts, hinted=hinted or (), bayes=list(zip(config.mix.bayes, members)))
    sums = _Sums(grid, len(cells), scorers, TargetBytes(files.dataset, files.tokens), borders)
    _run(grid, files, sums, run)

    hint_config = None if files.hints is None else files.hints.config

    def settings(listed: Sequence[Cell]) -> list[Row]:
        return [settings_of(cell, counts, hint_config) for cell in listed]

    scorers_json = [json.dumps(row) for row in settings(cells)]
    scorers_json += [row["cell"] for row in bayes_rows(config.mix.bayes, [*map(settings, members)], grid.mixed())]
    whole_K = sums.targets == np.diff(borders)
    whole_K[-1] &= not goes_on
    _write(out, scorers_json, sums, whole_K)
    return Made(
        phases_s={"mix": time.perf_counter() - started},
        facts={"scorers": scorers, "documents": len(sums.targets), "targets": int(sums.targets.sum())},
    )


def _run(grid: Grid, files: MixInputs, sums: "_Sums", run: RunOptions) -> None:
    reported_s = time.monotonic()
    run.report(Progress(stage="by_document", done=0, total=files.records, unit="targets"))

    def after_unit(unit: Unit) -> None:
        nonlocal reported_s
        sums.add(len(unit))
        if time.monotonic() - reported_s > _REPORT_EVERY_S or sums.records == files.records:
            reported_s = time.monotonic()
            run.report(Progress(stage="by_document", done=sums.records, total=files.records, unit="targets"))

    threads = run.threads or len(os.sched_getaffinity(0))
    grid.run(_cut_at_documents(files, sums), threads=threads, after_unit=after_unit)


def _cut_at_documents(files: MixInputs, sums: "_Sums") -> Iterator[Unit]:
    """The units of the mix, cut where the document changes."""
    done = 0
    for unit in files.units([]):
        target_T = files.plan.targets_of_records(done, done + len(unit))
        done += len(unit)
        document_T = sums.document_of(target_T)
        cuts = [0, *(np.flatnonzero(np.diff(document_T)) + 1).tolist(), len(unit)]
        for first, last in pairwise(cuts):
            sums.announce(int(document_T[first]), target_T[first:last])
            yield unit.part(slice(first, last))


class _Sums:
    """What every document has added to the loss of each scorer, [C, K], and its targets and bytes, [K]."""

    def __init__(self, grid: Grid, cells: int, scorers: int, target_bytes: TargetBytes, borders: Int64Array) -> None:
        documents = len(borders) - 1
        self.loss_nats: Float64Array = np.zeros((scorers, documents))
        self.targets: Int64Array = np.zeros(documents, np.int64)
        self.bytes: Int64Array = np.zeros(documents, np.int64)
        self.records = 0
        self._grid, self._cells, self._target_bytes, self._borders = grid, cells, target_bytes, borders
        self._before = np.zeros(scorers)
        self._announced: list[int] = []

    def document_of(self, target_T: Int64Array) -> Int64Array:
        """The document of each target's position, by its number."""
        found: Int64Array = np.searchsorted(self._borders, target_T - 1, side="right") - 1
        return found

    def announce(self, document: int, target_T: Int64Array) -> None:
        """Whose the next unit is; units come back in the order in which they were announced."""
        self._announced.append(document)
        self.targets[document] += len(target_T)
        self.bytes[document] += self._target_bytes.total(target_T)

    def add(self, records: int) -> None:
        """A unit is in all of the grid's sums: what these have grown by is its document's."""
        document = self._announced.pop(0)
        mixed = [found.loss_nats for found in self._grid.mixed()]
        total_C = np.concatenate([self._grid.totals().loss_nats[: self._cells], mixed])
        self.loss_nats[:, document] += total_C - self._before
        self._before = total_C
        self.records += records


def _write(out: Path, scorers_json: list[str], sums: _Sums, whole_K: npt.NDArray[np.bool_]) -> None:
    columns = {"targets": pa.array(sums.targets), "bytes": pa.array(sums.bytes), "whole": pa.array(whole_K)}
    documents = pa.table(columns)
    pq.write_table(documents, out / DOCUMENTS_FILE, compression="zstd")
    losses = pa.FixedSizeListArray.from_arrays(pa.array(sums.loss_nats.ravel()), len(sums.targets))
    table = pa.table({"cell": pa.array(scorers_json, pa.string()), "document_nats": losses})
    pq.write_table(table, out / LOSSES_FILE, compression="zstd")
