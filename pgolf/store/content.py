"""SHA-256 digests of files, cached by path for as long as the file's stat is unchanged.

Hashing 16 GB of shards for every plan would take minutes. A file is hashed again unless size, mtime, ctime and inode
equal those of its last full hash: any ordinary write changes mtime and ctime, and users cannot set ctime back.
`pgolf verify` hashes everything regardless.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pgolf.store.table_file import Table

CHUNK_BYTES = 1 << 20
# Two writes within one tick of the file system's clock leave equal times, so digests of younger files are not cached.
MIN_AGE_NS = 50_000_000

Signature = tuple[int, int, int, int]


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits; read in 1 MiB chunks."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            hasher.update(piece)
    return hasher.hexdigest()


def signature(path: Path | str) -> Signature:
    """A file's (size, mtime, ctime, inode), times in nanoseconds."""
    stat = os.stat(path)
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def signature_text(stat: Signature) -> str:
    """A signature as stored in SQLite."""
    return " ".join(map(str, stat))


def combined(digests: Iterable[tuple[str, str]]) -> str:
    """One digest of several named digests, independent of their order."""
    text = "".join(f"{name}\0{value}\n" for name, value in sorted(digests))
    return hashlib.sha256(text.encode()).hexdigest()


class Memo:
    """A cache of digests by path, in one SQLite file; losing it costs time, never correctness."""

    def __init__(self, path: Path) -> None:
        self._known = Table(path, "digests", "name TEXT PRIMARY KEY, signature TEXT, sha256 TEXT")
        self._learned: dict[str, tuple[Signature, str]] = {}

    def sha256(self, path: Path, *, name: str | None = None, trust: bool = True) -> str:
        """Digest of `path`: the cached one if `trust` is set and the file's signature is unchanged."""
        name = name or os.path.abspath(path)
        now = signature(path)
        if trust and (known := self._look_up(name, now)) is not None:
            return known
        value = sha256_file(path)
        old_enough = time.time_ns() - max(now[1], now[2]) > MIN_AGE_NS
        if old_enough and signature(path) == now:
            self._learned[name] = (now, value)
        return value

    def unread_bytes(self, path: Path, *, name: str | None = None) -> int:
        """Bytes that `sha256` would have to read: 0 on a cache hit, else the file's size."""
        now = signature(path)
        return 0 if self._look_up(name or os.path.abspath(path), now) is not None else now[0]

    def remember(self, digests: Mapping[Path, str]) -> None:
        """Cache digests computed elsewhere for the files as they are now; the caller vouches for them."""
        self._learned |= {os.path.abspath(path): (signature(path), value) for path, value in digests.items()}

    def _look_up(self, name: str, now: Signature) -> str | None:
        if name in self._learned:
            then, value = self._learned[name]
            return value if then == now else None
        rows = self._known.rows(
            "SELECT sha256 FROM digests WHERE name = ? AND signature = ?", (name, signature_text(now))
        )
        return str(rows[0][0]) if rows else None

    def save(self) -> None:
        """Write new digests to disk; does nothing if the store is not writable."""
        learned, self._learned = self._learned, {}
        self._known.put([(name, signature_text(then), value) for name, (then, value) in learned.items()])
