"""Digests of files, remembered while a file's stat says that it has not been touched.

Hashing 16 GB of shards at every plan would cost minutes. A file is hashed again unless size, mtime, ctime and inode are
what they were when it was last hashed in full: any ordinary write changes mtime and ctime, and ctime cannot be set back
by a user. `pgolf verify` hashes everything regardless.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pgolf.store.table_file import Table

CHUNK_BYTES = 1 << 20
# A second write within one tick of the file system's clock leaves the same times: files this young are not remembered.
SETTLED_NS = 50_000_000

Signature = tuple[int, int, int, int]


def sha256_file(path: Path) -> str:
    """sha256 of the file's bytes, 64 hex digits; reads in 1 MiB pieces."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            hasher.update(piece)
    return hasher.hexdigest()


def signature(path: Path | str) -> Signature:
    """(size, mtime, ctime, inode) of a file, times in nanoseconds."""
    stat = os.stat(path)
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def spelled(stat: Signature) -> str:
    """A signature as text."""
    return " ".join(map(str, stat))


def combined(digests: Iterable[tuple[str, str]]) -> str:
    """One digest for several named digests, independent of their order."""
    text = "".join(f"{name}\0{value}\n" for name, value in sorted(digests))
    return hashlib.sha256(text.encode()).hexdigest()


class Memo:
    """Digests by path, kept in one SQLite file; losing it costs time, never correctness."""

    def __init__(self, path: Path) -> None:
        self._known = Table(path, "digests", "name TEXT PRIMARY KEY, signature TEXT, sha256 TEXT")
        self._learned: dict[str, tuple[Signature, str]] = {}

    def sha256(self, path: Path, *, name: str | None = None, trust: bool = True) -> str:
        """Digest of `path`, from memory when its signature is unchanged and `trust` is set."""
        name = name or os.path.abspath(path)
        now = signature(path)
        if trust and (known := self._look_up(name, now)) is not None:
            return known
        value = sha256_file(path)
        settled = time.time_ns() - max(now[1], now[2]) > SETTLED_NS
        if settled and signature(path) == now:
            self._learned[name] = (now, value)
        return value

    def unread_bytes(self, path: Path, *, name: str | None = None) -> int:
        """What `sha256` would have to read of a file: nothing, or all of it."""
        now = signature(path)
        return 0 if self._look_up(name or os.path.abspath(path), now) is not None else now[0]

    def remember(self, digests: Mapping[Path, str]) -> None:
        """Take digests from elsewhere for files as they are now; the caller knows that they are right."""
        self._learned |= {os.path.abspath(path): (signature(path), value) for path, value in digests.items()}

    def _look_up(self, name: str, now: Signature) -> str | None:
        if name in self._learned:
            then, value = self._learned[name]
            return value if then == now else None
        rows = self._known.rows("SELECT sha256 FROM digests WHERE name = ? AND signature = ?", (name, spelled(now)))
        return str(rows[0][0]) if rows else None

    def save(self) -> None:
        """Write what was learned; a store that cannot be written to is left as it is."""
        learned, self._learned = self._learned, {}
        self._known.put([(name, spelled(then), value) for name, (then, value) in learned.items()])
