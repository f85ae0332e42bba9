"""Traces and hints as files: hand-written, and altered the way a mix must notice."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

STREAM_KEY = b"pgolf.stream"


def rewrite(path: Path, *, metadata=None, columns=None, block=None) -> None:
    """Write an Arrow file again with further metadata (None: without the key) and with other or further columns."""
    with pa.OSFile(str(path), "rb") as file:
        table = pa.ipc.open_file(file).read_all()
    kept = {name: table.column(name) for name in table.column_names} | (columns or {})
    about = {**(table.schema.metadata or {}), **(metadata or {})}
    schema = pa.table(kept).schema.with_metadata({name: value for name, value in about.items() if value is not None})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.table(kept, schema=schema).combine_chunks(), max_chunksize=block)


def stamp(path: Path, digest: str | None) -> None:
    """Say, or stop saying, which tokens a file is of."""
    rewrite(path, metadata={STREAM_KEY: None if digest is None else digest.encode()})


def write_hints(path: Path, columns, digest: str, **config) -> None:
    """hints.arrow: columns is order -> (hint int32, context uint32, count uint32)."""
    kinds = {"hint": np.int32, "context": np.uint32, "count": np.uint32}
    named = {
        f"{kind}_{order}": pa.array(values[place].astype(dtype))
        for order, values in columns.items()
        for place, (kind, dtype) in enumerate(kinds.items())
    }
    about = {"orders": list(columns), "granularity": 1, "ranks": 1, "scope": "document", "delay_targets": 2048} | config
    metadata = {STREAM_KEY: digest.encode(), b"pgolf.hint_config": json.dumps(about).encode()}
    table = pa.table(named).replace_schema_metadata(metadata)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
