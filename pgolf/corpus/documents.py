"""Streaming reader of documents in JSONL, Parquet and plain-text files; errors name file and line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pgolf.errors import DocumentError

SUFFIXES = (".jsonl", ".parquet", ".txt")

# Parquet rows per batch: keeps a batch of long documents within tens of megabytes.
_PARQUET_ROWS = 256


class Documents:
    """The texts of a file, or of a folder's files in name order; every iteration reads them again.

    .jsonl: one object per line, text in field `text_field`; blank lines are skipped. .parquet: one document per row,
    column `text_field`. .txt: the whole file is one document. Other files in a folder are not read (`ignored`). Texts
    are returned as stored: nothing is stripped or normalized.

    A document is bad if it is not valid UTF-8, not JSON, lacks the field or is not a string; so is an empty .txt or
    .jsonl file. Up to `skip_bad` bad documents are skipped, counted in `skipped` and passed to `on_skip`; the next one
    raises DocumentError. A folder without documents always does, and so does an unreadable Parquet file, because the
    number of its documents is unknown.
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
        self.files, self.ignored = _document_files(source)
        self.total_bytes = sum(path.stat().st_size for path in self.files)
        self.read_bytes = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the texts in order, updating `read_bytes` (of `total_bytes`) and `skipped`."""
        self.read_bytes = 0
        self.skipped = 0
        read = 0
        before_bytes = 0
        readers = {".jsonl": self._jsonl, ".parquet": self._parquet, ".txt": self._text}
        for path in self.files:
            for text in readers[path.suffix](path):
                if isinstance(text, DocumentError):
                    self._skip(text)
                else:
                    read += 1
                    yield text
            before_bytes += path.stat().st_size
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

    def _jsonl(self, path: Path) -> Iterator[str | DocumentError]:
        lines = 0
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                self.read_bytes += len(line)
                content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not content.strip():
                    continue
                lines += 1
                yield _text_of_line(content, self.text_field, f"{path}, line {number}")
        if not lines:
            yield DocumentError(f"{path}: the file is empty, a .jsonl file holds one JSON object per line")

    def _parquet(self, path: Path) -> Iterator[str | DocumentError]:
        row, start_bytes = 0, self.read_bytes
        try:
            # No pre-buffering: it would hold a whole row group, often gigabytes, in memory.
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
                _check_column(file.schema_arrow, self.text_field, path)
                rows, file_bytes = file.metadata.num_rows, path.stat().st_size
                for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=[self.text_field]):
                    for value in batch.column(0):
                        row += 1
                        yield _text_of_value(value, f"{path}, row {row}")
                    self.read_bytes = start_bytes + file_bytes * row // rows
        except (pa.ArrowException, OSError) as error:
            raise DocumentError(f"{path}: not readable as Parquet after row {row} ({error})") from error
        if not row:
            yield DocumentError(f"{path}: the file has no rows")

    def _text(self, path: Path) -> Iterator[str | DocumentError]:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        if not content.strip():
            yield DocumentError(f"{path}: the file is empty, a .txt file is one document")
            return
        try:
            yield content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            yield DocumentError(f"{path}, line {line}: not UTF-8 ({_what(error)})")


def _document_files(source: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files to read, in order, and the ignored ones; hidden files are neither."""
    kinds = ", ".join(SUFFIXES)
    if source.is_file():
        if source.suffix not in SUFFIXES:
            raise DocumentError(f"{source}: suffix {source.suffix!r} is not one of {kinds}; convert or rename it")
        return (source,), ()
    if not source.is_dir():
        raise DocumentError(f"{source}: no such file or folder; give a {kinds} file or a folder of them")
    found = sorted((path for path in source.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)
    files = tuple(path for path in found if path.is_file() and path.suffix in SUFFIXES)
    if not files:
        raise DocumentError(f"{source}: none of the folder's {len(found)} entries is a {kinds} file")
    return files, tuple(path for path in found if path not in files)


def _text_of_line(line: bytes, field: str, where: str) -> str | DocumentError:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return DocumentError(f"{where}: not UTF-8 ({_what(error)})")
    except (ValueError, RecursionError) as error:
        return DocumentError(f"{where}: not JSON ({error})")
    if not isinstance(record, dict):
        return DocumentError(f"{where}: a JSON {type(record).__name__}, expected an object with field {field!r}")
    if field not in record:
        fields = ", ".join(map(repr, list(record)[:8])) or "none"
        return DocumentError(f"{where}: no field {field!r} (fields: {fields})")
    text = record[field]
    if not isinstance(text, str):
        return DocumentError(f"{where}: field {field!r} is a JSON {type(text).__name__}, expected a string")
    try:
        # A lone surrogate, written \ud800 in JSON, is a valid Python str but has no UTF-8 encoding.
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return DocumentError(f"{where}: not text (character {error.start} is a lone surrogate)")
    return text


def _text_of_value(value: "pa.Scalar[Any]", where: str) -> str | DocumentError:
    try:
        text = value.as_py()
    except UnicodeDecodeError as error:
        return DocumentError(f"{where}: not UTF-8 ({_what(error)})")
    return text if isinstance(text, str) else DocumentError(f"{where}: the value is null, expected a string")


def _check_column(schema: pa.Schema, field: str, path: Path) -> None:
    if field not in schema.names:
        raise DocumentError(f"{path}: no column {field!r} (columns: {', '.join(schema.names) or 'none'})")
    kind = schema.field(field).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DocumentError(f"{path}: column {field!r} is {kind}, expected string")


def _what(error: UnicodeDecodeError) -> str:
    return f"byte 0x{error.object[error.start]:02x} at offset {error.start}: {error.reason}"
