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

    def rows(one: tuple[TableSpec, Output]) -> pa.Table | str:
        return _rows(*one, data, results, store)

    with ThreadPoolExecutor(_WORKERS) as pool:
        found = list(pool.map(rows, asked))
    tables: dict[str, list[pa.Table]] = {}
    missing = []
    for (spec, _output), table in zip(asked, found):
        if isinstance(table, str):
            missing.append(table)
        else:
            tables.setdefault(spec.name, []).append(table)
    return Details({name: pa.concat_tables(of_seed) for name, of_seed in tables.items()}, tuple(dict.fromkeys(missing)))


def _rows(spec: TableSpec, output: Output, data: Output | None, results: Path, store: Store | None) -> pa.Table | str:
    """The rows of one output, or why there are none."""
    kept = read_run(results, spec, output.folder)
    if kept is not None:
        return kept
    what = f"no {_WORDS[spec.name]}: "
    try:
        opened = _opened(output, store)
        made = _MAKES[spec.name](opened.path, None if data is None else lambda: _opened(data, store).path)
    except (PgolfError, OSError) as error:
        return f"{what}{error}"
    rows = [{**row, "seed": output.seed, "run_key": output.folder} for row in made]
    if not rows:
        return f"{what}{output.folder} holds none"
    table = rows_to_arrow(spec, rows)
    with suppress(ResultsError):  # of a folder that may only be read; it is computed again the next time
        append_table(results, spec, output.folder, table)
    return table


def _opened(output: Output, store: Store | None) -> Artifact:
    if store is None:
        raise ResultsError(f"there is no store to look for {output.folder} in")
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
