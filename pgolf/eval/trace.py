"""The trace: what the network contributes to a score, two numbers per scored target, as an Arrow IPC file.

One row per record in evaluation order (`pgolf.eval.windows`): `target` int64, index j of the target in the validation
stream; `loss_nats` float32, -ln q(x_j); `entropy_nats` float32, entropy of the distribution q at that place; where
hints were scored, `hint_logp_<n>` float32 per order n, ln q(hint).
The schema's metadata says which windows and which tokens were scored, and whether any score had seen its own target.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.errors import DataError
from pgolf.eval.windows import WindowPlan, plan_windows

WINDOWS_KEY = b"pgolf.windows"
CAUSAL_KEY = b"pgolf.causal"
STREAM_KEY = b"pgolf.stream"
HINT_LOGP = "hint_logp_"

# Rows of every record batch but the last. Fixed, so that the bytes of a trace depend on its rows alone and not on the
# pieces it was written in; a multiple of any useful segment; 16 MiB at 16 bytes a row.
BLOCK_RECORDS = 1 << 20

COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("target", pa.int64()),
    ("loss_nats", pa.float32()),
    ("entropy_nats", pa.float32()),
)
SCHEMA = pa.schema(COLUMNS)


@dataclass(frozen=True, slots=True)
class Trace:
    """Consecutive records: target int64, loss_nats and entropy_nats float32, all of one length.

    hint_logp: order -> ln q(hint), float32 of the same length; empty without hints.
    """

    target: npt.NDArray[np.int64]
    loss_nats: npt.NDArray[np.float32]
    entropy_nats: npt.NDArray[np.float32]
    hint_logp: Mapping[int, npt.NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.target)


def write_trace(
    path: Path,
    pieces: Iterable[Trace],
    *,
    plan: WindowPlan | None = None,
    causal: bool = True,
    stream: str | None = None,
) -> int:
    """Write pieces, one after the other, as one trace of the plan's windows; returns the number of records.

    causal: whether every row depends on the artifact and on tokens before its target alone. stream: the tokens' digest.
    Holds one block of rows and one piece in memory. The bytes do not depend on where the pieces are cut.
    Raises DataError for a piece with columns of different lengths, or a loss or entropy that is NaN or infinite.
    """
    written = 0
    metadata = {CAUSAL_KEY: b"true" if causal else b"false"}
    if plan is not None:
        sizes = {"targets": plan.targets, "window": plan.window, "stride": plan.stride, "tail": plan.tail}
        metadata[WINDOWS_KEY] = json.dumps(sizes).encode()
    if stream is not None:
        metadata[STREAM_KEY] = stream.encode()
    schema = SCHEMA.with_metadata(metadata)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for block in _reblocked(pieces):
            finite = np.isfinite(block.loss_nats) & np.isfinite(block.entropy_nats)
            if not finite.all():
                row = int(np.argmin(finite))
                raise DataError(
                    f"record {written + row:,} (target {int(block.target[row]):,}) has loss {block.loss_nats[row]} and "
                    f"entropy {block.entropy_nats[row]} nats; the model gives no usable score there: "
                    "check the checkpoint"
                )
            columns = [pa.array(column) for column in (block.target, block.loss_nats, block.entropy_nats)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            written += len(block)
    return written


def read_trace(path: Path) -> Trace:
    """Read a whole trace; memory-mapped and without a copy where it is a single block.

    Raises DataError for a file that is no trace.
    """
    with _opened(path, mapped=True) as file:
        blocks = list(_blocks(file))
    if len(blocks) == 1:
        return blocks[0]
    return Trace(
        np.concatenate([np.empty(0, np.int64), *(block.target for block in blocks)]),
        np.concatenate([np.empty(0, np.float32), *(block.loss_nats for block in blocks)]),
        np.concatenate([np.empty(0, np.float32), *(block.entropy_nats for block in blocks)]),
    )


def iterate_trace(path: Path) -> Iterator[Trace]:
    """Yield the blocks of a trace in order, read one at a time.

    Not mapped: mapped pages would count as this process's memory, 1 GB for the challenge's validation set.
    Raises DataError for a file that is no trace.
    """
    with _opened(path, mapped=False) as file:
        yield from _blocks(file)


def count_records(path: Path) -> int:
    """Number of records of a trace, from the file's metadata alone.

    Raises DataError for a file that is no trace.
    """
    with _opened(path, mapped=True) as file:
        return sum(file.get_batch(number).num_rows for number in range(file.num_record_batches))


def read_plan(path: Path) -> WindowPlan:
    """The windows a trace was scored in, as one rank; from the file's metadata alone.

    Raises DataError for a file that is no trace, or one that does not say.
    """
    return plan_windows(**json.loads(_metadata(path, WINDOWS_KEY, "which windows it was scored in")))


def trace_is_causal(path: Path) -> bool:
    """Whether every score of a trace depends on the artifact and on tokens before its target alone.

    Raises DataError for a file that is no trace, or one that does not say.
    """
    return _metadata(path, CAUSAL_KEY, "whether it is causal") == b"true"


def _metadata(path: Path, key: bytes, what: str) -> bytes:
    with _opened(path, mapped=True) as file:
        metadata: dict[bytes, bytes] = file.schema.metadata or {}
    if key not in metadata:
        raise DataError(f"{path} does not say {what}; score again to write a new one")
    return metadata[key]


def _opened(path: Path, *, mapped: bool) -> pa.ipc.RecordBatchFileReader:
    try:
        file = pa.ipc.open_file(pa.memory_map(str(path)) if mapped else pa.OSFile(str(path), "rb"))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as a trace: {error}; score again to write a new one") from error
    hints = [field for field in file.schema if field.name.startswith(HINT_LOGP) and field.type == pa.float32()]
    if not file.schema.equals(pa.schema([*SCHEMA, *hints])):
        found = ", ".join(f"{field.name} {field.type}" for field in file.schema)
        raise DataError(f"{path} has columns {found}; a trace has target int64, loss_nats float, entropy_nats float")
    return file


def _blocks(file: pa.ipc.RecordBatchFileReader) -> Iterator[Trace]:
    for number in range(file.num_record_batches):
        batch = file.get_batch(number)
        columns = {
            name: column.to_numpy(zero_copy_only=True) for name, column in zip(batch.schema.names, batch.columns)
        }
        hints = {int(n.removeprefix(HINT_LOGP)): c for n, c in columns.items() if n.startswith(HINT_LOGP)}
        yield Trace(columns["target"], columns["loss_nats"], columns["entropy_nats"], hints)


def _reblocked(pieces: Iterable[Trace]) -> Iterator[Trace]:
    """Cut pieces of any lengths into blocks of BLOCK_RECORDS rows; the last block may be shorter."""
    target = np.empty(BLOCK_RECORDS, np.int64)
    loss_nats = np.empty(BLOCK_RECORDS, np.float32)
    entropy_nats = np.empty(BLOCK_RECORDS, np.float32)
    filled = 0
    for piece in pieces:
        if not len(piece.target) == len(piece.loss_nats) == len(piece.entropy_nats):
            raise DataError(
                f"a piece of the trace has {len(piece.target):,} targets, {len(piece.loss_nats):,} losses and "
                f"{len(piece.entropy_nats):,} entropies; each target needs one of each"
            )
        done = 0
        while done < len(piece):
            take = min(BLOCK_RECORDS - filled, len(piece) - done)
            target[filled : filled + take] = piece.target[done : done + take]
            loss_nats[filled : filled + take] = piece.loss_nats[done : done + take]
            entropy_nats[filled : filled + take] = piece.entropy_nats[done : done + take]
            filled += take
            done += take
            if filled == BLOCK_RECORDS:
                yield Trace(target, loss_nats, entropy_nats)
                filled = 0
    if filled:
        yield Trace(target[:filled], loss_nats[:filled], entropy_nats[:filled])
