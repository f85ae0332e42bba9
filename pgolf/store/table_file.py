"""A cache table in an SQLite file, shared by concurrent processes.

Losing it costs time, never correctness: a file that is damaged, locked for long or not writable counts as empty.
"""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

_BUSY_S = 5.0


class Table:
    """One table. columns: its SQL column definitions. Only `put` creates the file."""

    def __init__(self, path: Path, name: str, columns: str) -> None:
        self._path, self._name, self._columns = path, name, columns
        self._lock = threading.Lock()
        self._reader: sqlite3.Connection | None = None

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; empty if the file cannot be read."""
        with self._lock:
            try:
                if self._reader is None:
                    if not self._path.is_file():
                        return []
                    # Read-only, so that `plan` works on a store without write permission.
                    address = f"{self._path.absolute().as_uri()}?mode=ro"
                    self._reader = sqlite3.connect(address, uri=True, timeout=_BUSY_S, check_same_thread=False)
                return self._reader.execute(query, values).fetchall()
            except (sqlite3.Error, OSError):
                return []

    def put(self, rows: Sequence[Sequence[Any]]) -> None:
        """Insert or replace rows; a file that is not SQLite is replaced."""
        if not rows:
            return
        with suppress(sqlite3.Error, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._write(rows)
            except sqlite3.OperationalError:  # locked for long, or not writable: the next process computes it again
                return
            except sqlite3.DatabaseError:
                self._path.unlink()
                self._write(rows)

    def _write(self, rows: Sequence[Sequence[Any]]) -> None:
        marks = ", ".join("?" * len(rows[0]))
        with closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as connection, connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {self._name} ({self._columns})")
            connection.executemany(f"INSERT OR REPLACE INTO {self._name} VALUES ({marks})", rows)
