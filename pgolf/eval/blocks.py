"""Write columns to an Arrow IPC file in blocks of fixed size, so that its bytes depend on the rows alone."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# Rows of every record batch but the last. Fixed, so that a file's bytes do not depend on the pieces it was written in;
# a multiple of any useful segment; 16 MiB at 16 bytes a row.
BLOCK_RECORDS = 1 << 20

_REPORT_EVERY_S = 0.5

Columns = Sequence[npt.NDArray[Any]]


def write_blocks(
    path: Path,
    schema: pa.Schema,
    pieces: Iterable[Columns],
    *,
    check: Callable[[Columns, int], None] = lambda _block, _before: None,
    report: Callable[[int], None] = lambda _written: None,
) -> int:
    """Write pieces of any length, each the schema's columns for consecutive records; returns the number of records.

    Holds one block of BLOCK_RECORDS rows and one piece in memory. check: called with every block and the number of
    records before it, before the block is written; may raise. report: called every half second, and at the end, with
    the number of records so far.
    """
    block = [np.empty(BLOCK_RECORDS, kind.to_pandas_dtype()) for kind in schema.types]
    filled = before = 0
    reported_s = time.monotonic()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:

        def write() -> None:
            rows = [column[:filled] for column in block]
            check(rows, before)
            writer.write_batch(pa.record_batch([pa.array(column) for column in rows], schema=schema))

        for piece in pieces:
            done, size = 0, len(piece[0])
            while done < size:
                take = min(BLOCK_RECORDS - filled, size - done)
                for whole, column in zip(block, piece, strict=True):
                    whole[filled : filled + take] = column[done : done + take]
                filled += take
                done += take
                if filled == BLOCK_RECORDS:
                    write()
                    before, filled = before + filled, 0
            if time.monotonic() - reported_s > _REPORT_EVERY_S:
                reported_s = time.monotonic()
                report(before + filled)
        if filled:
            write()
    report(before + filled)
    return before + filled
