"""Columns per record as an Arrow IPC file whose bytes do not depend on the pieces it was written in."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.eval.trace import BLOCK_RECORDS


def write_blocks(
    path: Path,
    schema: pa.Schema,
    pieces: Iterable[Sequence[npt.NDArray[Any]]],
    *,
    records: int,
    report: Callable[[int], None],
) -> None:
    """Write pieces, each the schema's columns of consecutive records, in blocks of BLOCK_RECORDS rows like the trace.

    records: of all pieces together. report: told every half second, and at the end, how many are written.
    """
    block = [np.empty(min(BLOCK_RECORDS, records), field.type.to_pandas_dtype()) for field in schema]
    filled = written = 0
    reported_s = time.monotonic()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for piece in pieces:
            done, size = 0, len(piece[0])
            while done < size:
                take = min(len(block[0]) - filled, size - done)
                for kept, column in zip(block, piece, strict=True):
                    kept[filled : filled + take] = column[done : done + take]
                filled += take
                done += take
                written += take
                if filled == len(block[0]) or written == records:
                    writer.write_batch(pa.record_batch([pa.array(kept[:filled]) for kept in block], schema=schema))
                    filled = 0
            if time.monotonic() - reported_s > 0.5:
                reported_s = time.monotonic()
                report(written)
    assert written == records
    report(written)
