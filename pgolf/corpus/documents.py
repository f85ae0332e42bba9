"""Streaming reader of documents in JSONL, Parquet and plain-text files; errors name file and line."""

import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.corpus.document_files import Compression, DocumentFile, document_files
from pgolf.corpus.parquet_pages import check_pages
from pgolf.errors import DocumentError
from pgolf.store.plain_file import open_plain

_BUFFER_BYTES = 1 << 20
# ValueError: of Arrow's decompressors.
_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, MemoryError)
# A document is held in memory, several times; a small compressed file may hold one of any size.
_MOST_DOCUMENT_BYTES = 1 << 27

# First bytes of a file whose name says text, and what it is instead.
_MAGIC = {
    b"\x1f\x8b": "a gzip file, whose name ends in .gz",
    b"\x28\xb5\x2f\xfd": "a Zstandard file, whose name ends in .zst",
    b"PAR1": "a Parquet file, whose name ends in .parquet",
    b"\xff\xfe": "text in UTF-16; write it in UTF-8",
    b"\xfe\xff": "text in UTF-16; write it in UTF-8",
}

# Parquet rows per batch: keeps a batch of long documents within tens of megabytes.
_PARQUET_ROWS = 256


class Documents:
    """The texts of a file, or of a folder's files in name order; every iteration reads them again.

    .jsonl: one object per line, text in field `text_field`; blank lines are skipped. .parquet: one document per row,
    column `text_field`. .txt: the whole file is one document. What else is in a folder is not read (`ignored`). Texts
    are returned as stored: nothing is stripped or normalized.

    A document is bad if it is not valid UTF-8, not JSON, lacks the field, has it twice or is not a string; so is an
    empty .txt or .jsonl file. Up to `skip_bad` bad documents are skipped, counted in `skipped` and passed to `on_skip`;
    the next one raises DocumentError. A folder without documents always does, and so does a Parquet or compressed file
    that cannot be read to its end, because the number of its documents is unknown.
    """

    def __init__(
        self,
        source: Path,
        *,
        text_field: str = "text",
        skip_bad: int = 0,
        on_skip: Callable[[DocumentError], None] = lambda _error: None,
    ) -> None:
        self.source = source
        self.text_field = text_field
        self.skip_bad = skip_bad
        self.on_skip = on_skip
        found = document_files(source)
        self.files, self.ignored = found.files, found.left_out
        self.total_bytes = sum(file.path.stat().st_size for file in self.files)
        self.read_bytes = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the texts in order, updating `read_bytes` (of `total_bytes`) and `skipped`."""
        self.read_bytes = 0
        self.skipped = 0
        read = 0
        before_bytes = 0
        readers = {"jsonl": self._jsonl, "parquet": self._parquet, "txt": self._text}
        for file in self.files:
            for text in readers[file.reader](file):
                if isinstance(text, DocumentError):
                    self._skip(text)
                else:
                    read += 1
                    yield text
            before_bytes += file.path.stat().st_size
            self.read_bytes = before_bytes
        if not read:
            raise DocumentError(
                f"{self.source}: no documents in {len(self.files)} files ({self.skipped} bad ones skipped); "
                "an empty corpus cannot be tokenized"
            )

    def _skip(self, error: DocumentError) -> None:
        self.skipped += 1
        if self.skipped > self.skip_bad:
            allowed = f"; {self.skip_bad} bad documents were allowed, this is one more" if self.skip_bad else ""
            raise DocumentError(f"{error}{allowed}. Repair it, or skip bad documents with --skip-bad N")
        self.on_skip(error)

    def _jsonl(self, file: DocumentFile) -> Iterator[str | DocumentError]:
        lines, number, before_bytes = 0, 0, self.read_bytes
        with ExitStack() as stack:
            try:
                raw = stack.enter_context(open_plain(file.path))
                content = stack.enter_context(_plain(raw, file.compression))
                lines_of = iter(partial(content.readline, _MOST_DOCUMENT_BYTES + 1), b"")
                for number, line in enumerate(lines_of, start=1):
                    if len(line) > _MOST_DOCUMENT_BYTES:
                        raise _too_large(f"{file.path}, line {number}")
                    self.read_bytes = before_bytes + raw.tell() if file.compression else self.read_bytes + len(line)
                    if number == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    if not line.strip():
                        continue
                    lines += 1
                    yield _text_of_line(line, self.text_field, f"{file.path}, line {number}")
            except _UNREADABLE as error:
                if isinstance(error, DocumentError):
                    raise
                raise _unreadable(file, f"after line {number} ({_why(error)})") from error
        if not lines:
            yield DocumentError(f"{file.path}: the file is empty, a .jsonl file holds one JSON object per line")

    def _parquet(self, file: DocumentFile) -> Iterator[str | DocumentError]:
        path, row, start_bytes = file.path, 0, self.read_bytes
        try:
            # No pre-buffering: it would hold a whole row group, often gigabytes, in memory.
            with (
                open_plain(path) as pages,
                pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet,
            ):
                _check_column(parquet.schema_arrow, self.text_field, path)
                check_pages(pages, self.text_field)
                rows, file_bytes = parquet.metadata.num_rows, path.stat().st_size
                for batch in parquet.iter_batches(batch_size=_PARQUET_ROWS, columns=[self.text_field]):
                    # By its name: "a.b" also selects the field b of a column a.
                    for value in batch.column(self.text_field):
                        row += 1
                        yield _text_of_value(value, f"{path}, row {row}")
                    self.read_bytes = start_bytes + file_bytes * row // max(rows, row)
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            if isinstance(error, DocumentError):
                raise
            raise DocumentError(f"{path}: not readable as Parquet after row {row} ({_why(error)})") from error
        if not row:
            yield DocumentError(f"{path}: the file has no rows")

    def _text(self, file: DocumentFile) -> Iterator[str | DocumentError]:
        path = file.path
        try:
            with open_plain(path) as raw, _plain(raw, file.compression) as plain:
                content = plain.read(_MOST_DOCUMENT_BYTES + 1 if file.compression else -1)
        except _UNREADABLE as error:
            raise _unreadable(file, f"({_why(error)})") from error
        if file.compression and len(content) > _MOST_DOCUMENT_BYTES:
            raise _too_large(str(path))
        content = content.removeprefix(b"\xef\xbb\xbf")
        if not content.strip():
            yield DocumentError(f"{path}: the file is empty, a .txt file is one document")
            return
        try:
            yield content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            yield DocumentError(f"{path}, line {line}: not UTF-8 ({_what(error)})")


def _plain(raw: IO[bytes], compression: Compression | None) -> IO[bytes]:
    """The file's content without its compression, of which there may be several frames one after the other."""
    if compression is None:
        return raw
    # Both check every frame's length and checksum, and read on where a frame ends and another begins; Python's also
    # takes the zeros with which tapes and block devices fill up a .gz file, as gzip does.
    unpacked: Any = gzip.GzipFile(fileobj=raw)
    if compression == "zstd":
        unpacked = pa.CompressedInputStream(pa.PythonFile(raw, "r"), compression)
    return io.BufferedReader(unpacked, _BUFFER_BYTES)


def _too_large(where: str) -> DocumentError:
    return DocumentError(
        f"{where}: more than {_MOST_DOCUMENT_BYTES:,} bytes, the most that one document may have; split it"
    )


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _unreadable(file: DocumentFile, why: str) -> DocumentError:
    how = f" as {file.compression}" if file.compression else ""
    return DocumentError(f"{file.path}: not readable{how} {why}; copy or download it again")


def _text_of_line(line: bytes, field: str, where: str) -> str | DocumentError:
    repeated: list[str] = []
    try:
        # Names are compared as read: JSON has many spellings of one.
        record = json.loads(line.decode("utf-8"), object_pairs_hook=partial(_one_each, repeated))
    except UnicodeDecodeError as error:
        return DocumentError(f"{where}: not UTF-8 ({_what(error)})")
    except (ValueError, RecursionError) as error:
        return DocumentError(f"{where}: not JSON ({error})")
    if not isinstance(record, dict):
        return DocumentError(f"{where}: a JSON {type(record).__name__}, expected an object with field {field!r}")
    if field not in record:
        fields = ", ".join(repr(name)[:40] for name in list(record)[:8]) or "none"
        return DocumentError(f"{where}: no field {field!r} (fields: {fields})")
    if field in repeated:
        return DocumentError(f"{where}: has the field {field!r} more than once, so which one is meant is unknown")
    text = record[field]
    if not isinstance(text, str):
        return DocumentError(f"{where}: field {field!r} is a JSON {type(text).__name__}, expected a string")
    try:
        # A lone surrogate, written \ud800 in JSON, is a valid Python str but has no UTF-8 encoding.
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return DocumentError(f"{where}: not text (character {error.start} is a lone surrogate)")
    return text


def _one_each(repeated: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these pairs; leaves in `repeated` the names that the last one seen, the outermost, has twice."""
    found = dict(pairs)
    times_of = Counter(name for name, _ in pairs) if len(found) < len(pairs) else {}
    repeated[:] = [name for name, times in times_of.items() if times > 1]
    return found


def _text_of_value(value: "pa.Scalar[Any]", where: str) -> str | DocumentError:
    try:
        text = value.as_py()
    except UnicodeDecodeError as error:
        return DocumentError(f"{where}: not UTF-8 ({_what(error)})")
    return text if isinstance(text, str) else DocumentError(f"{where}: the value is null, expected a string")


def _check_column(schema: pa.Schema, field: str, path: Path) -> None:
    places = schema.get_all_field_indices(field)
    if not places:
        raise DocumentError(f"{path}: no column {field!r} (columns: {', '.join(schema.names) or 'none'})")
    if len(places) > 1:
        raise DocumentError(
            f"{path}: {len(places)} columns are named {field!r} (columns: {', '.join(schema.names)}), so which one is "
            "meant is unknown; rename all but one"
        )
    kind = schema.field(places[0]).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise DocumentError(f"{path}: column {field!r} is {kind}, expected string")


def _what(error: UnicodeDecodeError) -> str:
    found = f"byte 0x{error.object[error.start]:02x} at offset {error.start}: {error.reason}"
    looks_like = next((advice for magic, advice in _MAGIC.items() if error.object.startswith(magic)), "")
    return f"{found}; it begins like {looks_like}" if looks_like else found
