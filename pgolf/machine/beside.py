"""The stages of ours that run on this machine at one time, and the cores that a training by the clock has to itself.

Every stage holds the lock of a file in the folder of leases while it runs, `pgolf-<number>.stage`, and says in it what
it is and which cores others should leave alone. As long as there are such cores, a process of ours keeps the threads of
its other stages off them; it looks once a second, so who came first does not matter. Nobody waits for a core, so there
is nothing to deadlock, and a killed process's locks are the kernel's to free.

Bytes never depend on the number of cores. Processes that a stage had started before (ranks on a CPU) are not moved.
"""

import json
import os
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pgolf.errors import LeaseError
from pgolf.machine.lease import is_locked
from pgolf.machine.lock_file import try_lock

_LOOK_EVERY_S = 1.0
_MOST_STAGES = 1_000
_MOST_BYTES = 2_000
_MOST_SAID = 20

_one_at_a_time = threading.Lock()
# Cores of this process before it kept off any, how many stages keep off cores here, and whether they do now.
_home: frozenset[int] = frozenset()
_yielding = 0
_moved = False


@dataclass(frozen=True, slots=True)
class _Neighbour:
    """Another running stage. since_s: in seconds since 1970. cores: what it has to itself."""

    file: str
    node: str
    since_s: float
    cores: frozenset[int]


class Beside:
    """What was seen beside one stage. cores: on which this process may run when it keeps off none."""

    def __init__(self, folder: Path | None, own_file: Path | None) -> None:
        self.cores = frozenset(os.sched_getaffinity(0)) if folder is None else _home
        self._folder, self._own_file = folder, own_file
        self._began_s = time.time()
        self._seen: dict[tuple[str, float], tuple[str, float]] = {}

    def look(self) -> frozenset[int]:
        """Note who runs beside now; returns the cores that they have to themselves."""
        neighbours = [] if self._folder is None else _running(self._folder, self._own_file)
        for each in neighbours:
            self._seen[each.file, each.since_s] = each.node, time.time()
        return frozenset().union(*(each.cores for each in neighbours))

    def said(self) -> str:
        """Each stage that ran beside, with the seconds of this one between which it was seen; "nothing" if none was."""
        told = [
            f"{node} from {max(0.0, since_s - self._began_s):.0f} to {until_s - self._began_s:.0f} s"
            for (_file, since_s), (node, until_s) in sorted(self._seen.items(), key=lambda seen: seen[0][1])
        ]
        more = [f"{len(told) - _MOST_SAID} more"] if len(told) > _MOST_SAID else []
        return ", ".join([*told[:_MOST_SAID], *more]) or "nothing"


@contextmanager
def at_work(folder: Path | None, node: str, own_cores: Collection[int]) -> Iterator[Beside]:
    """Let others know that a stage runs inside the block, and keep off the cores that another has to itself.

    folder: of the leases; None: nobody is told, and nobody asked. own_cores: what this stage needs for itself; a stage
    that needs some keeps off none.
    """
    global _home, _yielding
    yields = folder is not None and not own_cores
    with _one_at_a_time:
        if not _moved:
            _home = frozenset(os.sched_getaffinity(0))
        _yielding += yields
    descriptor, path = (None, None) if folder is None else _leave_word(folder, node, own_cores)
    beside, ended = Beside(folder, path), threading.Event()

    def look() -> None:
        cores = beside.look()
        if yields:
            _keep_off(cores)

    def go_on_looking() -> None:
        while not ended.wait(_LOOK_EVERY_S):
            look()

    looking = threading.Thread(target=go_on_looking, name="beside", daemon=True)
    try:
        look()
        if folder is not None:
            looking.start()
        yield beside
        beside.look()
    finally:
        ended.set()
        if looking.ident is not None:
            looking.join()
        if descriptor is not None:
            os.close(descriptor)
        with _one_at_a_time:
            _yielding -= yields
        if yields and not _yielding:
            _keep_off(())


def _keep_off(cores: Collection[int]) -> None:
    """Move every thread of this process; to the last core where no other is left."""
    global _moved
    with _one_at_a_time:
        if not cores and not _moved:
            return
        allowed = _home.difference(cores) or {max(_home)}
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError):  # ended meanwhile
                if os.sched_getaffinity(int(thread)) != allowed:
                    os.sched_setaffinity(int(thread), allowed)
        _moved = allowed != _home


def _leave_word(folder: Path, node: str, cores: Collection[int]) -> tuple[int | None, Path | None]:
    """Lock the first file that is free, and write into it; nothing if none can be had: then others do not know."""
    word = json.dumps({"node": node[:200], "since_s": time.time(), "cores": sorted(cores)}).encode()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(_MOST_STAGES):
        path = folder / f"pgolf-{number}.stage"
        try:
            descriptor = try_lock(path)
        except LeaseError:  # not a file of ours
            continue
        if descriptor is None:
            continue
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, word if len(word) <= _MOST_BYTES else b"", 0)
        return descriptor, path
    return None, None


def _running(folder: Path, own_file: Path | None) -> list[_Neighbour]:
    found = []
    for path in sorted(folder.glob("pgolf-*.stage")):
        if path != own_file and is_locked(path):
            with suppress(OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
                found.append(_read(path))
    return found


def _read(path: Path) -> _Neighbour:
    """Anybody may have written it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        said = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
    finally:
        os.close(descriptor)
    node = "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in str(said["node"])[:200])
    return _Neighbour(path.name, node, float(said["since_s"]), frozenset(int(core) for core in said["cores"]))
