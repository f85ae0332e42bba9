"""Device leases: one exclusive file lock per device, released by the kernel when all its holders are dead.

torchrun inherits the lock file's descriptor, so a device stays leased as long as torchrun lives, even if the process
that took the lease is gone. There is no counter to leak and no server to ask; the lock files may be deleted whenever
nothing runs.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pgolf.errors import LeaseError
from pgolf.machine.flock import flock
from pgolf.machine.lock_file import holder_of, leave_word, try_lock
from pgolf.run_options import Lease

_BEGINNING = "pgolf-"
_MOST_SAID = 4

_POLL_S = 0.1
_REMIND_S = 60.0


@contextmanager
def lease(
    folder: Path | None,
    devices: Sequence[str],
    count: int,
    *,
    log_line: Callable[[str], None],
    while_waiting: Callable[[], None] = lambda: None,
) -> Iterator[Lease]:
    """Hold `count` of `devices` inside the block, waiting as long as necessary; folder None: take them without locks.

    Each device has two lock files in `folder`, `pgolf-<name>.lock` for its holder and `pgolf-<name>.turn` for who is
    next. A lease of several collects them while it is next for all, so that leases of single devices cannot starve it,
    and takes its turns in one order, so that two cannot deadlock with half of the node each. Who shares no device with
    it does not wait for it. while_waiting: called several times a second while waiting; if it raises, the wait ends and
    nothing is held. Raises LeaseError if a lock file cannot be used.
    """
    assert 1 <= count <= len(devices), f"{count} of {len(devices)} devices requested"
    if folder is None:
        yield Lease(tuple(devices[:count]))
        return
    _make(folder)
    waiting = _Waiting(folder, devices, count, log_line, while_waiting)
    with ExitStack() as held:
        taken = _collect if count > 1 else _first_free
        descriptors = taken(folder, devices, count, waiting, held)
        names = tuple(device for device in devices if device in descriptors)
        yield Lease(names, tuple(descriptors[name] for name in names))


def leased(folder: Path) -> Mapping[str, str]:
    """The devices that are leased in a folder, and by whom. Raises LeaseError for a lock file that cannot be used."""
    found = {}
    for path in sorted(folder.glob(f"{_BEGINNING}*.lock")):
        if (descriptor := try_lock(path)) is None:
            found[path.stem.removeprefix(_BEGINNING)] = holder_of(path)
        else:
            os.close(descriptor)
    return found


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LeaseError(f"devices cannot be leased in {folder}: {error.strerror}; set another folder") from error


def _first_free(
    folder: Path, devices: Sequence[str], _count: int, waiting: "_Waiting", held: ExitStack
) -> dict[str, int]:
    """One device, as soon as it is free and nobody is next for it."""
    while True:
        for device in devices:
            if (turn := try_lock(_turn_of(folder, device))) is None:
                continue
            try:
                descriptor = _take(folder, device, held)
            finally:
                os.close(turn)
            if descriptor is not None:
                return {device: descriptor}
        waiting.sleep()


def _collect(folder: Path, devices: Sequence[str], count: int, waiting: "_Waiting", held: ExitStack) -> dict[str, int]:
    """Several devices, one by one, while this lease is next for all of those that it could have."""
    taken: dict[str, int] = {}
    with ExitStack() as turns:
        for device in sorted(devices):
            while (turn := try_lock(_turn_of(folder, device))) is None:
                waiting.sleep()
            turns.callback(os.close, turn)
        while len(taken) < count:
            for device in devices:
                if device not in taken and len(taken) < count:
                    descriptor = _take(folder, device, held)
                    if descriptor is not None:
                        taken[device] = descriptor
            if len(taken) < count:
                waiting.sleep()
    return taken


def _take(folder: Path, device: str, held: ExitStack) -> int | None:
    descriptor = try_lock(_lock_of(folder, device))
    if descriptor is not None:
        held.callback(os.close, descriptor)
        leave_word(descriptor)
    return descriptor


def _lock_of(folder: Path, device: str) -> Path:
    return folder / f"{_BEGINNING}{device}.lock"


def _turn_of(folder: Path, device: str) -> Path:
    return folder / f"{_BEGINNING}{device}.turn"


def is_locked(path: Path, how: int = fcntl.LOCK_SH) -> bool:
    """Whether any process, on any host, holds the lock on this file; False if the file does not exist.

    how: LOCK_EX to count those that share the lock, too; it is held for a moment by who asks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class _Waiting:
    """Sleeps between attempts, saying at once and then every minute who is waited for."""

    def __init__(
        self,
        folder: Path,
        devices: Sequence[str],
        count: int,
        log_line: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        self.folder, self.devices, self.count = folder, devices, count
        self.log_line, self.check = log_line, check
        self.began_s: float | None = None
        self.logged_s = 0.0

    def sleep(self) -> None:
        self.check()
        now_s = time.monotonic()
        if self.began_s is None:
            self.began_s = self.logged_s = now_s
            self.log_line(self.message())
        elif now_s - self.logged_s >= _REMIND_S:
            self.logged_s = now_s
            self.log_line(f"{self.message()}; waiting for {now_s - self.began_s:.0f} s")
        time.sleep(_POLL_S)

    def message(self) -> str:
        wanted = f"waiting for {self.count} of {', '.join(self.devices)} (locks in {self.folder})"
        busy = [(device, who) for device in self.devices if (who := self._busy(device))]
        said = [f"{device} {who}" for device, who in busy[:_MOST_SAID]]
        more = [f"{len(busy) - _MOST_SAID} more are held"] if len(busy) > _MOST_SAID else []
        return "; ".join([wanted, *said, *more])

    def _busy(self, device: str) -> str | None:
        """Who keeps a device from us: its holder, or who is next for it."""
        if is_locked(path := _lock_of(self.folder, device), fcntl.LOCK_EX):
            return f"is held by {holder_of(path)}"
        if is_locked(path := _turn_of(self.folder, device), fcntl.LOCK_EX):
            holder = holder_of(path)
            return None if holder.startswith(f"pid {os.getpid()} ") else f"is to be the next of {holder}"
        return None
