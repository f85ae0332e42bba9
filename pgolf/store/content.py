"""SHA-256 digests of files, remembered by path for as long as a file's stat is unchanged.

Hashing 16 GB of shards for every plan would take minutes. A file from outside is hashed again unless size, mtime, ctime
and inode equal those of its last full hash, and its last change lay a minute back at that hash and lies so now:

- two writes within one tick of a file system's clock leave equal times, and some clocks tick every second or two;
- a store through a mapping changes the times only if its page was clean. So dirty pages are written out before a file
  is hashed. On tmpfs the times never change again after the first such store: there nothing is remembered;
- a clock that was set back makes a file look younger than it was when it was hashed.

Files of the store are read-only and have a record of their own; they are remembered at once. `pgolf verify` hashes
everything regardless.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from pgolf.store.plain_file import open_plain
from pgolf.store.table_file import TableFile

CHUNK_BYTES = 1 << 20
# Longer than any clock's tick (FAT: 2 s), and than servers' clocks usually differ from ours.
SETTLED_NS = 60_000_000_000
# File systems whose files may change without their times (measured: the second store through a mapping).
UNTIMED = frozenset({"tmpfs", "ramfs"})

Signature = tuple[int, int, int, int]


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits; read in 1 MiB chunks."""
    with open_plain(path) as file:
        return _sha256(file)


def _sha256(file: IO[bytes]) -> str:
    hasher = hashlib.sha256()
    while piece := file.read(CHUNK_BYTES):
        hasher.update(piece)
    return hasher.hexdigest()


def signature(path: Path | str | int) -> Signature:
    """A file's (size, mtime, ctime, inode), times in nanoseconds; of a path or of an open descriptor."""
    stat = os.stat(path)
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def signature_text(stat: Signature) -> str:
    """A signature as stored in SQLite."""
    return " ".join(map(str, stat))


def combined(digests: Iterable[tuple[str, str]]) -> str:
    """One digest of several named digests, independent of their order."""
    text = "".join(f"{name}\0{value}\n" for name, value in sorted(digests))
    return hashlib.sha256(_encoded(text)).hexdigest()


class Memo:
    """Digests by path, in one SQLite file; losing it costs time, never correctness."""

    def __init__(self, path: Path) -> None:
        self._known = TableFile(path, {"digests": ("name", "signature", "sha256")})
        self._learned: dict[bytes, tuple[Signature, str]] = {}

    def sha256(self, path: Path) -> str:
        """Digest of a file from outside the store: the remembered one if the file cannot have changed since."""
        name = _name(path)
        # An open asks a file server for the present times; a stat alone may be answered from a cache.
        with open_plain(path) as file:
            now = signature(file.fileno())
            if _is_settled(now) and (known := self._look_up(name, now)) is not None:
                return known
            with suppress(OSError):  # not every file system can
                os.fsync(file.fileno())
            now = signature(file.fileno())
            value = _sha256(file)
            if signature(file.fileno()) == now and _is_settled(now) and _has_times(file.fileno()):
                self._learned[name] = (now, value)
        return value

    def sha256_in_store(self, path: Path, name: str, *, trust: bool = True) -> str:
        """Digest of a file of the store, `name` there, which nobody writes to: the remembered one if `trust` is set."""
        key, now = _encoded(name), signature(path)
        if trust and (known := self._look_up(key, now)) is not None:
            return known
        value = sha256_file(path)
        if signature(path) == now:
            self._learned[key] = (now, value)
        return value

    def unread_bytes(self, path: Path) -> int:
        """Bytes that `sha256` would have to read: 0 if it remembers the file, else the file's size."""
        now = signature(path)
        return 0 if _is_settled(now) and self._look_up(_name(path), now) is not None else now[0]

    def unread_in_store_bytes(self, path: Path, name: str) -> int:
        """Bytes that `sha256_in_store` would have to read."""
        now = signature(path)
        return 0 if self._look_up(_encoded(name), now) is not None else now[0]

    def remember(self, digests: Mapping[Path, str]) -> None:
        """Remember digests computed elsewhere for the files as they are now; the caller vouches for them."""
        self._learned |= {_name(path): (signature(path), value) for path, value in digests.items()}

    def _look_up(self, name: bytes, now: Signature) -> str | None:
        if name in self._learned:
            then, value = self._learned[name]
            return value if then == now else None
        rows = self._known.rows("digests", name=name, signature=signature_text(now))
        return str(rows[0][2]) if rows else None

    def save(self) -> None:
        """Write new digests to disk; does nothing if the store is not writable."""
        learned, self._learned = self._learned, {}
        rows = [(name, signature_text(then), value) for name, (then, value) in learned.items()]
        self._known.put({"digests": rows})


def _encoded(text: str) -> bytes:
    # A file's name need not be UTF-8; Python stands surrogates in for what is not.
    return text.encode("utf-8", "surrogateescape")


def _name(path: Path) -> bytes:
    return _encoded(os.path.abspath(path))


def _is_settled(now: Signature) -> bool:
    return time.time_ns() - max(now[1], now[2]) > SETTLED_NS


def _has_times(descriptor: int) -> bool:
    """Whether a file that changes has other times afterwards."""
    device = os.fstat(descriptor).st_dev
    return _file_systems().get(f"{os.major(device)}:{os.minor(device)}") not in UNTIMED


def _file_systems() -> dict[str, str]:
    """Device numbers of what is mounted -> type; empty where the kernel does not say."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {line.split()[2]: line.partition(" - ")[2].split()[0] for line in lines}
