"""The one way in for Arrow IPC files of columns: traces, counts, masses, hints, batch means.

Every block is checked before its numbers are used: buffers as long as its rows need, no nulls, the types of the schema.
Whatever Arrow raises for a damaged file becomes a DataError.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pgolf.errors import DataError
from pgolf.store.plain_file import require_plain

# Of all kinds that Arrow, and Python on its behalf, raise for bytes that are none of its files.
_DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError)
# Characters of column names in a message.
_MOST_SHOWN = 200


class ArrowFile:
    """A readable file; schema: its columns, metadata: what it says of itself.

    what, remedy: words for messages, such as "a trace" and "score again to write a new one". mapped: whether blocks are
    mapped, without a copy; else they are read, one at a time, since mapped pages would count as this process's memory.
    columns: the only ones to read. Raises DataError, here and in all methods, for a file that cannot be read.
    """

    def __init__(
        self, path: Path, *, what: str, remedy: str, mapped: bool = False, columns: Sequence[str] | None = None
    ) -> None:
        self.path = path
        self._what, self._remedy = what, remedy
        with self._readable():
            self._size_bytes = require_plain(path)
            name = os.fspath(path)
            self._file: Any = pa.memory_map(name) if mapped else pa.OSFile(name, "rb")
            self._reader = pa.ipc.open_file(self._file)
            if columns is not None:
                wanted = [self._reader.schema.get_field_index(column) for column in columns]
                options = pa.ipc.IpcReadOptions(included_fields=wanted)
                self._reader = pa.ipc.open_file(self._file, options=options)
            self.schema = self._reader.schema
            self.metadata: dict[bytes, bytes] = dict(self.schema.metadata or {})
            self.names: list[str] = list(self.schema.names)  # decoded: a name may be no text

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            if isinstance(error, DataError):
                raise
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DataError(f"{self.path} cannot be read as {self._what}: {why}; {self._remedy}") from error

    def require(self, columns: Sequence[tuple[str, pa.DataType]], others: str) -> None:
        """Raise DataError unless the file has exactly these columns. others: what the message says of other ones."""
        with self._readable():
            if not self.schema.equals(pa.schema(columns)):
                found = ", ".join(f"{field.name} {field.type}" for field in self.schema)
                shown = found if len(found) <= _MOST_SHOWN else f"{found[:_MOST_SHOWN]}…"
                raise DataError(f"{self.path} has columns {shown}; {others}")

    def says(self, key: bytes) -> str:
        """The text under a key of the metadata; empty where it says nothing."""
        return self.metadata.get(key, b"").decode("utf-8", "replace")

    def records(self) -> int:
        """How many rows all blocks have."""
        return sum(batch.num_rows for batch in self._batches())

    def blocks(self) -> Iterator[list[npt.NDArray[Any]]]:
        """The columns of each block in order."""
        for batch in self._batches():
            with self._readable():
                columns = [column.to_numpy(zero_copy_only=True) for column in batch.columns]
            yield columns

    def columns(self) -> list[npt.NDArray[Any]]:
        """The columns of all blocks together; without a copy where there is one block."""
        blocks = list(self.blocks())
        if len(blocks) == 1:
            return blocks[0]
        with self._readable():
            empty = [np.empty(0, kind.to_pandas_dtype()) for kind in self.schema.types]
            return [np.concatenate(column) for column in zip(empty, *blocks, strict=True)]

    def _batches(self) -> Iterator[Any]:
        with self._readable():
            count = self._reader.num_record_batches
        for number in range(count):
            with self._readable():
                batch = self._reader.get_batch(number)
                batch.validate()
                nulls = sum(column.null_count for column in batch.columns)
                if nulls:
                    raise ValueError(f"{nulls:,} values of block {number} are missing")
                # What is read is what lies in the file: it is written uncompressed, and each value once.
                if sum(column.nbytes for column in batch.columns) > self._size_bytes:
                    raise ValueError(f"block {number} has more bytes than the file, {self._size_bytes:,}")
            yield batch
