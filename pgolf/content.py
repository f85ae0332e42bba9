"""Digests of files, remembered while a file's stat says that it has not been touched.

Hashing 16 GB of shards at every plan would cost minutes. A file is hashed again unless size, mtime, ctime and inode are
what they were when it was last hashed in full: any ordinary write changes mtime and ctime, and ctime cannot be set back
by a user. `pgolf verify` hashes everything regardless.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

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


def signature(path: Path) -> Signature:
    """(size, mtime, ctime, inode) of a file, times in nanoseconds."""
    stat = path.stat()
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def combined(digests: Iterable[tuple[str, str]]) -> str:
    """One digest for several named digests, independent of their order."""
    text = "".join(f"{name}\0{value}\n" for name, value in sorted(digests))
    return hashlib.sha256(text.encode()).hexdigest()


class Memo:
    """Digests by path, kept in one small JSON file; losing it costs time, never correctness."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _load(path)
        self._learned: dict[str, tuple[Signature, str]] = {}

    def sha256(self, path: Path, *, name: str | None = None, trust: bool = True) -> str:
        """Digest of `path`, from memory when its signature is unchanged and `trust` is set."""
        name = name or os.path.abspath(path)
        now = signature(path)
        known = self._known.get(name)
        if trust and known is not None and known[0] == now:
            return known[1]
        value = sha256_file(path)
        settled = time.time_ns() - max(now[1], now[2]) > SETTLED_NS
        if settled and signature(path) == now:
            self._known[name] = self._learned[name] = (now, value)
        return value

    def save(self) -> None:
        """Write what was learned; a store that cannot be written to is left as it is."""
        if not self._learned:
            return
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Merged with what others have learned meanwhile; a lost entry is only hashed again.
            temporary.write_text(json.dumps(_load(self._path) | self._learned))
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
        self._learned = {}


def _load(path: Path) -> dict[str, tuple[Signature, str]]:
    try:
        loaded = json.loads(path.read_text())
        return {name: (tuple(stat), value) for name, (stat, value) in loaded.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
