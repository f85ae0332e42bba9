"""Fills the tables of what a report shows of outputs (`pgolf.tables.detail_tables`), each file once.

What is there already is read; what is missing is computed from the outputs that the store still holds.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.corpus.dataset import open_dataset
from pgolf.errors import PgolfError, ResultsError
from pgolf.eval.breakdown import break_down
from pgolf.eval.excerpts import excerpts
from pgolf.pack.tensor_bytes import tensor_bytes
from pgolf.store.artifact import Artifact, Store
from pgolf.tables.detail_tables import BREAKDOWNS, LOSSES, SAMPLES, TENSORS
from pgolf.tables.parquet import append_table, read_run, rows_to_arrow
from pgolf.tables.schema import TableSpec

Row = dict[str, Any]
# Reading a trace waits for the disk as much as it computes.
_WORKERS = 4
_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of a run's outputs. tables: name -> rows of all its seeds. missing: what is not, and why."""

    tables: Mapping[str, pa.Table]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a run, as its stage rows name it."""

    node: str
    stage: str
    seed: int | None
    folder: str


def details_of(outputs: Sequence[Output], results: Path, store: Store | None) -> Details:
    """The rows of a run's outputs; files that are missing are written. store: None where there is none to look in.

    Raises ResultsError for a file that cannot be read.
    """
    data = next((output for output in outputs if output.seed is None and output.node == "data"), None)
    asked = [(spec, output) for output in outputs for spec in _TABLES_OF.get(output.stage, ())]

    def rows(one: tuple[TableSpec, Output]) -> pa.Table | _Lack:
        return _rows(*one, data, results, store)

    with ThreadPoolExecutor(_WORKERS) as pool:
        found = list(pool.map(rows, asked))
    tables: dict[str, list[pa.Table]] = {}
    lacks = []
    for (spec, output), table in zip(asked, found):
        if isinstance(table, _Lack):
            lacks.append((_WORDS[spec.name], output.folder, table))
        else:
            tables.setdefault(spec.name, []).append(table)
    return Details({name: pa.concat_tables(of_seed) for name, of_seed in tables.items()}, _said(lacks))


@dataclass(frozen=True, slots=True)
class _Lack:
    """Why there are no rows of an output. listed: whether the outputs that share the reason follow it."""

    text: str
    listed: bool = True


def _said(lacks: Sequence[tuple[str, str, _Lack]]) -> tuple[str, ...]:
    """One sentence for each reason, with what is not known for it and the outputs that it is not known of."""
    by_reason: dict[_Lack, tuple[dict[str, None], dict[str, None]]] = {}
    for words, folder, lack in lacks:
        what, folders = by_reason.setdefault(lack, ({}, {}))
        what[words] = folders[folder] = None
    return tuple(
        f"no {', '.join(what)}: {lack.text}{f': {_listed([*folders])}' if lack.listed else ''}"
        for lack, (what, folders) in by_reason.items()
    )


def _listed(folders: Sequence[str]) -> str:
    more = len(folders) - _MOST_NAMED
    return ", ".join(folders[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _rows(spec: TableSpec, output: Output, data: Output | None, results: Path, store: Store | None) -> pa.Table | _Lack:
    """The rows of one output, or why there are none."""
    kept = read_run(results, spec, output.folder)
    if kept is not None:
        return kept
    if store is None:
        return _Lack("there is no store to look in")
    opened = store.inspect(store.root / output.folder)
    if not isinstance(opened, Artifact):
        gone = not opened.path.is_dir()
        return _Lack(f"not in {store.root}") if gone else _Lack(f"{output.folder}: {opened.why}", listed=False)
    try:
        made = [*_MAKES[spec.name](opened.path, None if data is None else lambda: _opened(data, store).path)]
    except (PgolfError, OSError) as error:
        return _Lack(str(error), listed=False)
    rows = [{**row, "seed": output.seed, "run_key": output.folder} for row in made]
    if not rows:
        return _Lack("there are none")
    table = rows_to_arrow(spec, rows)
    with suppress(ResultsError):  # of a folder that may only be read; it is computed again the next time
        append_table(results, spec, output.folder, table)
    return table


def _opened(output: Output, store: Store) -> Artifact:
    found = store.inspect(store.root / output.folder)
    if isinstance(found, Artifact):
        return found
    gone = not found.path.is_dir()
    raise ResultsError(f"{output.folder} is not in {store.root}" if gone else f"{output.folder}: {found.why}")


Data = Callable[[], Path] | None


def _losses(folder: Path, _data: Data) -> Iterable[Row]:
    """Of every step; of a training of an earlier version those that it logged."""
    path = folder / "losses.parquet"
    if path.exists():
        try:
            with pq.ParquetFile(path) as file:
                rows: list[Row] = file.read().to_pylist()
        except pa.ArrowException as error:
            raise ResultsError(f"{path} cannot be read: {error}") from None
        return rows
    logged = json.loads((folder / "train.json").read_bytes())["losses"]
    return [
        {"step": one["step"], "loss_nats": one["loss_nats"], "clock_s": one["elapsed_s"]}
        for one in logged
        if isinstance(one, dict)
    ]


def _breakdowns(folder: Path, data: Data) -> Iterable[Row]:
    names = {"number": "part"}
    for part in break_down(folder / "trace.arrow", open_dataset(_required(data))):
        yield {names.get(name, name): value for name, value in asdict(part).items()}


def _samples(folder: Path, data: Data) -> Iterable[Row]:
    return [asdict(token) for token in excerpts(folder / "trace.arrow", open_dataset(_required(data)))]


def _tensors(folder: Path, _data: Data) -> Iterable[Row]:
    codec, tensors = tensor_bytes(folder / "model.pgolf")
    return [{**asdict(tensor), "codec": codec} for tensor in tensors]


def _required(data: Data) -> Path:
    if data is None:
        raise ResultsError("the stage rows name no data")
    return data()


_TABLES_OF: Mapping[str, Sequence[TableSpec]] = {
    "train": (LOSSES,),
    "score": (BREAKDOWNS, SAMPLES),
    "compress": (TENSORS,),
}
_MAKES: Mapping[str, Callable[[Path, Data], Iterable[Row]]] = {
    LOSSES.name: _losses,
    BREAKDOWNS.name: _breakdowns,
    SAMPLES.name: _samples,
    TENSORS.name: _tensors,
}
_WORDS = {
    LOSSES.name: "losses by step",
    BREAKDOWNS.name: "losses by place and kind of token",
    SAMPLES.name: "samples of text",
    TENSORS.name: "bytes by tensor",
}
