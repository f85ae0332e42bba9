"""Cache tables in an SQLite file, shared by concurrent processes. Losing them costs time, never correctness.

Every row carries a seal, a digest of its table's name and of all that it says, and is used only if its seal is right:
where a file system loses or changes bits there is no other answer, only none. What is damaged, locked for long or not
readable counts as empty; a damaged file, one of an earlier layout and what is no file is replaced when the next rows
are put.
"""

import hashlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pgolf.store.durable_folder import make_folder

_BUSY_S = 5.0
_SEAL = "seal"
# What another process does, or a full disk; all else that SQLite complains of is a damaged file.
_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
# What a reader complains of where a writer was killed, has only begun, or knew another layout: the next one clears up.
_UNFINISHED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_ERROR})
# An error's own text may be none once a bit of the schema has changed; and a length may be far too large.
_FAILURES = (sqlite3.Error, UnicodeDecodeError, MemoryError)
# What SQLite keeps beside a file while it writes: left alone, it would be played into a new file of that name.
_BESIDE = ("-journal", "-wal", "-shm")

Value = str | bytes


class TableFile:
    """Tables of texts and bytes: name -> columns, the first of which names a row. Only `put` creates the file."""

    def __init__(self, path: Path, tables: Mapping[str, Sequence[str]]) -> None:
        self._path, self._tables = path, {name: tuple(columns) for name, columns in tables.items()}
        self._lock = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._unreadable = self._damaged = False

    def rows(self, table: str, **wanted: Value) -> list[tuple[Any, ...]]:
        """Rows with a right seal whose columns have the wanted values; empty if the file cannot be read."""
        columns = self._tables[table]
        query = f"SELECT {', '.join((*columns, _SEAL))} FROM {table}"
        if wanted:
            query += f" WHERE {' AND '.join(f'{name} = ?' for name in wanted)}"
        with self._lock:
            found = self._read(query, tuple(wanted.values()))
            # Once each: SQLite may come by a damaged page twice.
            sealed = dict.fromkeys(tuple(row) for *row, seal in found if seal is not None and _seal(table, row) == seal)
            # Asked again here: its own index, once damaged, leads to other rows.
            rows = [row for row in sealed if all(row[columns.index(name)] == wanted[name] for name in wanted)]
            self._damaged |= len(rows) < len(found)
        return rows

    def _read(self, query: str, values: Sequence[Value]) -> list[tuple[Any, ...]]:
        if self._unreadable:
            return []
        try:
            if self._reader is None:
                if not self._path.exists() or not all(map(_is_plain, self._files())):
                    return []
                # Read-only, so that `plan` works on a store without write permission.
                address = f"{self._path.absolute().as_uri()}?mode=ro"
                self._reader = sqlite3.connect(address, uri=True, timeout=_BUSY_S, check_same_thread=False)
                # A text need not be UTF-8 once a bit of it has changed.
                self._reader.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            return self._reader.execute(query, values).fetchall()
        except (*_FAILURES, OSError) as error:
            self._close()
            self._unreadable = True  # not every look-up is to wait for the same lock
            self._damaged |= _code(error) not in _PASSING | _UNFINISHED
            return []

    def put(self, rows: Mapping[str, Sequence[Sequence[Value]]]) -> None:
        """Insert or replace rows of the tables; what cannot be written is left out."""
        if not any(rows.values()):
            return
        with self._lock, suppress(*_FAILURES, OSError):
            make_folder(self._path.parent)
            if self._damaged or not all(map(_is_plain, self._files())):
                self._remove()
            try:
                self._write(rows)
            except _FAILURES as error:
                # One that only another user may write to is not damaged.
                if _code(error) in _PASSING or (self._path.exists() and not os.access(self._path, os.W_OK)):
                    return
                self._remove()
                self._write(rows)
            self._unreadable = False

    def _write(self, rows: Mapping[str, Sequence[Sequence[Value]]]) -> None:
        with closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for table, columns in self._tables.items():
                layout = f"CREATE TABLE {table} ({columns[0]} PRIMARY KEY, {', '.join((*columns[1:], _SEAL))})"
                found = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchall()
                if found != [(layout,)]:
                    connection.execute(f"DROP TABLE IF EXISTS {table}")
                    connection.execute(layout)
                marks = ", ".join("?" * (len(columns) + 1))
                sealed = [(*row, _seal(table, row)) for row in rows.get(table, ())]
                connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", sealed)

    def _files(self) -> list[Path]:
        return [self._path, *(Path(f"{self._path}{ending}") for ending in _BESIDE)]

    def _remove(self) -> None:
        """Make room for a new file. A folder in its place stays: it is not ours, and may hold something."""
        self._close()
        for path in self._files():
            path.unlink(missing_ok=True)
        self._damaged = False

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _seal(table: str, row: Iterable[object]) -> bytes | None:
    """SHA-256 of the table's name and a row's values, each with its kind and length; None if one is of another kind."""
    hasher = hashlib.sha256()
    for value in (table, *row):
        if not isinstance(value, Value):
            return None
        content = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        hasher.update(b"%s %d " % (type(value).__name__.encode(), len(content)))
        hasher.update(content)
    return hasher.digest()


def _code(error: Exception) -> int:
    """SQLite's primary code of an error; 0 if it has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_plain(path: Path) -> bool:
    """Whether nothing is there, or a file: SQLite waits for ever at a pipe, and a link may lead out of the store."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return True
