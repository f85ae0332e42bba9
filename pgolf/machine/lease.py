"""Device leases: one exclusive file lock per device, released by the kernel when all its holders are dead.

torchrun inherits the lock file's descriptor, so a device stays leased as long as torchrun lives, even if the process
that took the lease is gone. There is no counter to leak and no server to ask; the lock files may be deleted whenever
nothing runs.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pgolf.run import Lease

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

    The lock of a device is `<name>.lock` in `folder`. Waiters form one queue, so that leases of single devices cannot
    starve a lease of many, and two leases cannot deadlock with half of the node each. while_waiting: called several
    times a second while waiting; if it raises, the wait ends and nothing is held.
    """
    assert 1 <= count <= len(devices), f"{count} of {len(devices)} devices requested"
    if folder is None:
        yield Lease(tuple(devices[:count]))
        return
    folder.mkdir(parents=True, exist_ok=True)
    waiting = _Waiting(f"waiting for {count} of {', '.join(devices)} (locks in {folder})", log_line, while_waiting)
    with ExitStack() as held:
        taken: dict[str, int] = {}
        with ExitStack() as queue:
            while (turn := _try_lock(folder / "queue.lock")) is None:
                waiting.sleep()
            queue.callback(os.close, turn)
            while len(taken) < count:
                for device in devices:
                    if device not in taken and len(taken) < count:
                        descriptor = _try_lock(folder / f"{device}.lock")
                        if descriptor is not None:
                            taken[device] = descriptor
                            held.callback(os.close, descriptor)
                if len(taken) < count:
                    waiting.sleep()
        names = tuple(device for device in devices if device in taken)
        yield Lease(names, tuple(taken[name] for name in names))


def is_locked(path: Path) -> bool:
    """Whether any process, on any host, holds the lock on this file; False if the file does not exist."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class _Waiting:
    """Sleeps between attempts, logging the wait at once and then every minute."""

    def __init__(self, message: str, log_line: Callable[[str], None], check: Callable[[], None]) -> None:
        self.message, self.log_line, self.check = message, log_line, check
        self.began_s = self.logged_s = 0.0

    def sleep(self) -> None:
        self.check()
        now_s = time.monotonic()
        if not self.began_s:
            self.began_s = self.logged_s = now_s
            self.log_line(self.message)
        elif now_s - self.logged_s >= _REMIND_S:
            self.logged_s = now_s
            self.log_line(f"{self.message}, for {now_s - self.began_s:.0f} s")
        time.sleep(_POLL_S)


def _try_lock(path: Path) -> int | None:
    """Open and lock the file exclusively; None if another process holds the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
