"""Drawings made side by side, by processes that were forked before this one had threads.

matplotlib draws in Python, so threads would take turns. A process started anew would import for a second what a fork
has; and a fork of a process with threads may hold a lock for ever. So one is forked early, at next to no cost; told
that there will be something to draw it imports the library, while this process computes what; and it forks one process
per core for the drawings.
"""

import os
import pickle
import signal
import socket
import struct
import threading
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from pgolf.machine.parent_death import die_with_parent
from pgolf.report.families import Sketch
from pgolf.report.folder import write_drawings
from pgolf.report.run_facts import RunFacts

_GET_READY = b"get ready"
_HEAD = struct.Struct("<Q")


class Drawers:
    """Processes that draw, with this one's code. Ends them with its block."""

    def __init__(self, pid: int, requests: socket.socket) -> None:
        self._pid, self._requests = pid, requests
        self._is_ready = False

    @classmethod
    def forked(cls) -> "Drawers | None":
        """None in a process that has threads: it may not be forked.

        Those of numpy and Arrow, which wait for work and hold no lock of Python's, do not count.
        """
        if threading.active_count() > 1:
            return None
        ours, theirs = socket.socketpair()
        above = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, of any thread
            pid = os.fork()
        if pid == 0:
            _run(above, theirs)
        theirs.close()
        return cls(pid, ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._requests.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def get_ready(self) -> None:
        """Import what draws, meanwhile: there will be something to draw."""
        if not self._is_ready:
            self._is_ready = True
            with suppress(OSError):
                _send(self._requests, _GET_READY)

    def draw(self, sketches: Sequence[Sketch], facts: RunFacts, folder: Path) -> bool:
        """Draw into a folder; False where that did not work out, and nothing is known of what is in the folder.

        Raises OSError as writing there did.
        """
        try:
            _send(self._requests, pickle.dumps((sketches, facts, folder)))
            answer = pickle.loads(_receive(self._requests))
        except (OSError, EOFError, pickle.UnpicklingError):
            return False
        if isinstance(answer, OSError):
            raise answer
        return answer is None


def _run(above: int, requests: socket.socket) -> NoReturn:
    """What the fork does until the process above is gone."""
    try:
        die_with_parent(above)
        for name in os.listdir("/proc/self/fd"):  # a lock that is held here would outlive its holder
            if int(name) > 2 and int(name) != requests.fileno():
                with suppress(OSError):
                    os.close(int(name))
        # Ctrl-C and SIGTERM on a terminal's group are the business of the process above.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            request = _receive(requests)
            if request == _GET_READY:
                import pgolf.report.figures  # noqa: F401
            else:
                _send(requests, pickle.dumps(_draw_on_all_cores(*pickle.loads(request))))
    except EOFError:
        os._exit(0)
    except BaseException:
        os._exit(1)


def _draw_on_all_cores(sketches: Sequence[Sketch], facts: RunFacts, folder: Path) -> OSError | str | None:
    """What went wrong: an error of writing, or what a process that ended otherwise has said."""
    import pgolf.report.figures  # noqa: F401  once, for all that are forked

    above, cores = os.getpid(), len(os.sched_getaffinity(0))
    # Maps and curves take about as long, and alternate: an odd step deals both to each core.
    shares = [share for share in (sketches[i::cores] for i in range(cores)) if share]
    below = {}
    for share in shares:
        answers, answer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            _draw_share(above, share, facts, folder, answer)
        os.close(answer)
        below[pid] = answers
    found: list[OSError | str | None] = []
    for pid, answers in below.items():
        with os.fdopen(answers, "rb") as told:
            said = told.read()
        os.waitpid(pid, 0)
        found.append(pickle.loads(said) if said else "a process that draws was killed")
    return next((error for error in found if error is not None), None)


def _draw_share(above: int, share: Sequence[Sketch], facts: RunFacts, folder: Path, answer: int) -> NoReturn:
    error: OSError | str | None = None
    try:
        die_with_parent(above)
        write_drawings(share, facts, folder)
    except OSError as failed:
        error = failed
    except BaseException:
        error = traceback.format_exc()
    with os.fdopen(answer, "wb") as told:
        told.write(pickle.dumps(error))
    os._exit(0)


def _send(to: socket.socket, message: bytes) -> None:
    to.sendall(_HEAD.pack(len(message)) + message)


def _receive(of: socket.socket) -> bytes:
    """Raises EOFError where the other end is gone."""
    [size] = _HEAD.unpack(_exactly(of, _HEAD.size))
    return _exactly(of, size)


def _exactly(of: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = of.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
