"""Who may use a device: an exclusive lock per device, which the kernel releases when its holders are dead.

The lock file's descriptor is handed to torchrun, so a device stays taken for as long as torchrun lives, even if the
process that took the lease is gone. No count to leak, no server to ask; the lock files may be deleted at any time
when nothing runs.
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
    """Hold `count` of `devices` inside the block, waiting for as long as it takes; `folder` None takes them unasked.

    A device is `<name>.lock` in `folder`. Those who wait form one queue, so a lease of many devices is not overtaken
    for ever by leases of one, and two that each hold half of the node cannot exist. while_waiting: called several times
    a second until they are there; what it raises ends the wait, and nothing is held.
    """
    assert 1 <= count <= len(devices), f"{count} of {len(devices)} devices asked for"
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
    """Whether somebody, on whatever host, holds the lock on this file; False where there is none."""
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
    """Sleeps between tries and says so at once and then once a minute."""

    def __init__(self, message: str, log_line: Callable[[str], None], look: Callable[[], None]) -> None:
        self.message, self.log_line, self.look = message, log_line, look
        self.began_s = self.said_s = 0.0

    def sleep(self) -> None:
        self.look()
        now_s = time.monotonic()
        if not self.began_s:
            self.began_s = self.said_s = now_s
            self.log_line(self.message)
        elif now_s - self.said_s >= _REMIND_S:
            self.said_s = now_s
            self.log_line(f"{self.message}, for {now_s - self.began_s:.0f} s")
        time.sleep(_POLL_S)


def _try_lock(path: Path) -> int | None:
    """An open, exclusively locked descriptor, or None while another process holds the file."""
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
