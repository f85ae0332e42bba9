"""`pgolf plan` and `pgolf results` on a store of many runs, compared with plain code that reads every file.

The outputs are synthetic (files of 16 bytes, arbitrary digests); the records are complete, and the runs differ in their
data, so that no two share an output. The tables are the rows of one synthetic run under many run keys. A folder of
sparse files stands in for large documents: a plan does not read them, and once a run has read them, it only checks
their stats. plain: json.loads of every record, pyarrow on every file.
"""

import hashlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.measured import Line, Report, arguments_parser, show
from bench.start import PGOLF, run
from bench.timing import Spread, in_turns_s, ratios, wall_s
from pgolf.identity.fingerprint import canonical
from pgolf.pipeline.graph import Node, key_of, pipeline
from pgolf.recipes.catalog import recipe_named
from pgolf.store.artifact import Artifact
from pgolf.store.content import Memo
from pgolf.store.output_record import RECORD_FILE, FileRecord, Record
from pgolf.tables.parquet import append
from pgolf.tables.schema import SCORES

CONTENT = b"0123456789abcdef"
CELLS = 267
# Another training, and other counts with a headline that they have.
CHANGED = ("train.steps=77", "count.orders=2,3", "headline.order=3")


def made_up_run(nodes: tuple[Node, ...], number: int, store: Path, memo: Memo) -> Iterator[Record]:
    """Publish one run's outputs under the keys that the recipe would have with other data."""
    artifacts: dict[str, Artifact] = {}
    for node in nodes:
        if node.name == "data" and number:
            node = replace(node, config=node.config.model_copy(update={"vocab_size": 512 + number}))
        key = key_of(node, artifacts, memo)
        outputs = {
            name: hashlib.sha256(f"{number} {node.name} {name}".encode()).hexdigest() for name in node.stage.outputs
        }
        record = Record(
            node=node.name,
            key_digest=key.digest,
            key=canonical(key.fields()),
            outputs=outputs,
            files={"made_up.bin": FileRecord(size_bytes=16, sha256=hashlib.sha256(CONTENT).hexdigest())},
            facts={},
            phases_s={},
            wall_s=1.0 + number,
            started_utc="2026-01-01T00:00:00+00:00",
            host="made-up",
            gpu=None,
            git_commit=None,
            parents={},
        )
        record = record.model_copy(update={"checksum": record.content_digest()})
        folder = store / record.folder
        folder.mkdir(parents=True)
        (folder / "made_up.bin").write_bytes(CONTENT)
        (folder / RECORD_FILE).write_bytes(record.to_bytes())
        artifacts[node.name] = Artifact(folder, record)
        yield record


def make_tables(results: Path, runs: int) -> None:
    """Write the scores of one synthetic run under many run keys."""
    shared = {"recipe": "demo", "recipe_key": "0" * 64, "estimator": "exact", "mixer": "backoff", "targets": 1000}
    shared |= {"normalized": True, "causal": True, "fits_budget": True, "bytes_verified": True, "total_bytes": 400_000}
    shared |= {"started_utc": "2026-01-01T00:00:00+00:00"}
    rows = [
        shared
        | {"seed": seed, "order": order, "alpha": alpha, "loss_nats": 1 + alpha, "bpb": 1 + alpha}
        | {"cell": json.dumps({"order": order, "alpha": alpha})}
        for seed in (7, 42, 1337)
        for order in (2, 3)
        for alpha in (point / 100 for point in range(CELLS // 6))
    ]
    table = pq.ParquetFile(append(results, SCORES, "run-0", rows)).read()
    for number in range(1, runs):
        for name, value in (("run_key", f"run-{number}"), ("recipe_key", f"{number:064x}")):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(name), pa.array([value] * table.num_rows))
        pq.write_table(table, results / SCORES.name / f"run-{number}.parquet", compression="zstd")


def read_records(store: Path) -> int:
    """The plain reference: parse every record."""
    return len([json.loads(path.read_bytes()) for path in store.glob(f"*/{RECORD_FILE}")])


def read_tables(results: Path) -> int:
    """The plain reference: read every table file."""
    return sum(pq.ParquetFile(path).read().num_rows for path in (results / SCORES.name).glob("run-*.parquet"))


def make_sparse(folder: Path, total_gb: float) -> None:
    """Create sparse files of 1 GB."""
    folder.mkdir()
    left_bytes = int(total_gb * 1e9)
    for number in range((left_bytes + 10**9 - 1) // 10**9):
        with (folder / f"documents_{number:06d}.jsonl").open("wb") as file:
            os.truncate(file.fileno(), min(10**9, left_bytes - number * 10**9))


def measure(folder: Path, runs: int, sparse_gb: float, repeats: int) -> list[Line]:
    """Seconds of plan and results in `folder`, and of the plain readers, in turns."""
    store, results, memo = folder / "store", folder / "results", Memo(folder / "memo.sqlite")
    shards = folder / "shards"
    make_sparse(shards, sparse_gb)  # first, since digests of files younger than a minute are not remembered
    nodes = pipeline(recipe_named("demo"))
    outputs = sum(1 for number in range(runs) for _ in made_up_run(nodes, number, store, memo))
    make_tables(results, runs)
    places = ["--store", str(store), "--results", str(results)]
    reuse = [*PGOLF, "plan", "demo", *places]
    overrides = [part for one in CHANGED for part in ("--set", one)]
    change = [*PGOLF, "plan", "demo", *places, *overrides]
    shown = [*PGOLF, "results", "--results", str(results)]
    first_plan_s, first_results_s = wall_s(lambda: run(change)), wall_s(lambda: run(shown))
    run(reuse)
    works = [
        *(lambda command=command: run(command) for command in (reuse, change, shown)),
        lambda: read_records(store),
        lambda: read_tables(results),
    ]
    reuse_s, change_s, shown_s, records_s, tables_s = in_turns_s(works, repeats)
    sparse = [*PGOLF, "plan", "demo", *places, "--documents", str(shards), "--set", "tokenize.source=documents"]
    unread_s = [wall_s(lambda: run(sparse)) for _ in range(repeats)]
    sources = Memo(store / ".sources.sqlite")
    one = min(shards.iterdir())
    read_s = wall_s(lambda: sources.sha256(one))
    # All files hold the same zeros, so they share one digest; cache it as a run would.
    sources.remember(dict.fromkeys(shards.iterdir(), sources.sha256(one)))
    sources.save()
    known_s = [wall_s(lambda: run(sparse)) for _ in range(repeats)]
    return [
        Line(f"plan, all reused, {outputs:,} outputs", "s", Spread.of(reuse_s), "<= 2"),
        Line(f"plan, 13 stages to look at, {outputs:,} outputs", "s", Spread.of(change_s), "<= 2"),
        Line("the same for the first time", "s", Spread.of([first_plan_s])),
        Line("plain: parse every record", "s", Spread.of(records_s)),
        Line("plan, stages to look at / parse every record", "times", ratios(change_s, records_s)),
        Line(f"results, {runs:,} runs of {CELLS // 6 * 6} rows", "s", Spread.of(shown_s), "<= 2"),
        Line("the same for the first time", "s", Spread.of([first_results_s])),
        Line("plain: read every table file", "s", Spread.of(tables_s)),
        Line("results / read every table file", "times", ratios(shown_s, tables_s)),
        Line(f"plan, {sparse_gb:g} GB of documents never read", "s", Spread.of(unread_s), "<= 2"),
        Line(f"plan, {sparse_gb:g} GB of documents known", "s", Spread.of(known_s), "<= 2"),
        Line(f"digest of one of their files, {one.stat().st_size:,} B", "s", Spread.of([read_s])),
    ]


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments_parser(__doc__ or "", repeats=5)
    parser.add_argument("--runs", type=int, default=1000, help="runs in the store (default: %(default)s)")
    parser.add_argument(
        "--sparse-gb", type=float, default=100.0, help="size of the sparse files (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="pgolf-") as folder:
        lines = measure(Path(folder), options.runs, options.sparse_gb, options.repeats)
    title = f"store of {options.runs:,} runs"
    command = shlex.join(["python", "-m", "bench.store_scale", *argv])
    show(Report.of(title, __doc__ or "", command, lines), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
