"""Ending when told to: promptly, and without leaving a process behind.

At SIGTERM or Ctrl-C Prefect raises in the flow, then waits for the threads of its tasks, for ever if one waits for a
training; then it records the crash, ends its in-process server, and signals again for the handler that was there
before. Python's default would die there and leave what is left of the server. Ranks need nothing from us: they die with
torchrun, and torchrun with this process. The store needs nothing either: it is safe against worse.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the block, SIGTERM ends this process and its children with exit code 143."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_within(grace_s: float) -> None:
    """Give Prefect `grace_s` seconds to record the crash, ending every child but its server meanwhile; then end."""

    def watch() -> None:
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            for pid in children(os.getpid()):
                if b"pgolf.launch" in _command(pid):
                    terminate(pid)
            time.sleep(0.5)
        _end(signal.SIGTERM, None)

    threading.Thread(target=watch, daemon=True).start()


def end_server_with_us() -> None:
    """Have Prefect's in-process server end soon after this process, however this one ends.

    The server is a child of ours that nothing ends after kill -9 (seen: 60 % of a core, for as long as one looked). It
    cannot be asked to die with its parent from outside, so a shell watches both.
    """
    watch = 'while kill -0 "$1" && kill -0 "$2"; do sleep 1; done 2>/dev/null; kill "$2" 2>/dev/null'

    def find() -> None:
        while True:
            for pid in children(os.getpid()):
                if b"uvicorn" in _command(pid):
                    subprocess.Popen(
                        ["sh", "-c", watch, "sh", str(os.getpid()), str(pid)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                    return
            time.sleep(0.5)

    threading.Thread(target=find, daemon=True).start()


def terminate(pid: int) -> None:
    """SIGTERM, if it still lives."""
    with suppress(ProcessLookupError):  # ended by itself meanwhile
        os.kill(pid, signal.SIGTERM)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _end(_signal: int, _frame: FrameType | None) -> None:
    print("terminated; finished stages are kept and will be reused", file=sys.stderr, flush=True)
    for pid in children(os.getpid()):
        terminate(pid)
    os._exit(128 + signal.SIGTERM)


def children(parent: int) -> list[int]:
    """Pids of the living direct children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before the last bracket may hold anything; state and parent follow it.
            state, parent_of = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != "Z" and int(parent_of) == parent:
            found.append(int(stat.parent.name))
    return found
