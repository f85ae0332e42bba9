"""Who uses a store: whatever builds or files holds it together with others, whatever deletes has it alone.

`.locks/store` is locked by the kernel, shared or exclusive, and so released when its holder dies; `.locks/user-*.json`
beside it say who the holders are, for people to read. Nothing is decided by these notes. A process holds a store once,
however often it asks: where locks of files are those of a whole process, a second one would end with the first.
"""

import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pgolf.errors import StoreError
from pgolf.machine.flock import flock
from pgolf.machine.process import Process
from pgolf.store.durable_folder import make_folder
from pgolf.store.plain_file import read_plain

LOCKS = ".locks"
_LOCK = "store"
_NOTE = "user-"
_POLL_S = 0.2
_MOST_NOTE_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses a store. what: its command; since_utc: to the second, as ISO text."""

    what: str
    since_utc: str
    process: Process

    @classmethod
    def here(cls, what: str) -> "User":
        """This process, from now on."""
        return cls(what, datetime.now(UTC).isoformat(timespec="seconds"), Process.here())

    def __str__(self) -> str:
        return f"{self.what} ({self.process.host}, pid {self.process.pid}, since {self.since_utc})"


@dataclass
class _Hold:
    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0
    held: ExitStack = field(default_factory=ExitStack)


_HOLDS: dict[str, _Hold] = {}
_GUARD = threading.Lock()


@contextmanager
def once(name: str, hold: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Hold something inside the block, once per process: whoever asks while it is held shares it, in any thread."""
    with _GUARD:
        ours = _HOLDS.setdefault(name, _Hold())
    with ours.lock:
        if ours.count == 0:
            ours.held.enter_context(hold())
        ours.count += 1
    try:
        yield
    finally:
        with ours.lock:
            ours.count -= 1
            if ours.count == 0:
                ours.held.close()


@contextmanager
def using(root: Path, what: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Keep what lies in the store from being deleted inside the block; waits while another process deletes.

    on_wait: told once whom we wait for. Where nothing can be written the lock of an earlier writer serves; where there
    is none either, the block runs without, as nobody could delete there from this machine.
    """
    with once(str(root), lambda: _together(root, what, on_wait)):
        yield


@contextmanager
def alone(root: Path, what: str) -> Iterator[None]:
    """Have the store to ourselves inside the block.

    Raises StoreError naming who uses it, and where the lock cannot be taken.
    """
    try:
        descriptor = _open(root)
    except OSError as error:
        raise StoreError(
            f"nothing can be deleted from {root}: its lock {root / LOCKS / _LOCK} cannot be opened "
            f"({error.strerror or error}); mount the store writable, and check its permissions"
        ) from None
    try:
        if not _locked(descriptor, fcntl.LOCK_EX):
            raise StoreError(_in_use(root, users(root)))
        with suppress(OSError):  # notes of those that are no more: nobody else is here
            for path in (root / LOCKS).glob(f"{_NOTE}*.json"):
                path.unlink(missing_ok=True)
        with _noted(root, what):
            yield
    finally:
        os.close(descriptor)


def users(root: Path) -> list[User]:
    """The processes that say they use the store, the first to come first; of this machine only those that live."""
    found = []
    for path in (root / LOCKS).glob(f"{_NOTE}*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
            said = json.loads(read_plain(path, most_bytes=_MOST_NOTE_BYTES, follow_links=False))
            user = User(str(said["what"]), str(said["since_utc"]), Process(**said["process"]))
            if not user.process.is_gone:
                found.append(user)
    return sorted(found, key=lambda user: user.since_utc)


def _in_use(root: Path, found: list[User]) -> str:
    who = "\n  ".join(map(str, found)) or "a process that has left no note of itself"
    return f"{root} is in use, and what a run needs must not be deleted under it; run again when it has ended:\n  {who}"


@contextmanager
def _together(root: Path, what: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    try:
        descriptor = _open(root)
    except OSError:
        yield
        return
    try:
        waited = False
        while not _locked(descriptor, fcntl.LOCK_SH):
            if not waited:
                waited = True
                who = "; ".join(map(str, users(root))) or "a process that has left no note of itself"
                on_wait(f"waiting until nothing is deleted from {root} any more: {who}")
            time.sleep(_POLL_S)
        with _noted(root, what):
            yield
    finally:
        os.close(descriptor)


def _open(root: Path) -> int:
    """The lock's file, made if need be; read-only where it cannot be written."""
    folder = root / LOCKS
    if folder.is_symlink():
        raise StoreError(f"{folder} is a link, and the store writes only inside its own folder; remove the link")
    always = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        make_folder(folder)  # with the store's own, before anybody relies on what lies in it
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | always, 0o666)
    except OSError:
        return os.open(folder / _LOCK, os.O_RDONLY | always)


def _locked(descriptor: int, how: int) -> bool:
    try:
        flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _noted(root: Path, what: str) -> Iterator[None]:
    """Say who we are while we hold the lock; where that cannot be written, it is left unsaid."""
    path = root / LOCKS / f"{_NOTE}{os.getpid()}-{secrets.token_hex(4)}.json"
    unfinished = path.with_suffix(".tmp")
    with suppress(OSError):
        unfinished.write_text(json.dumps(asdict(User.here(what))))
        unfinished.replace(path)
    try:
        yield
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
