"""End a run on SIGTERM or Ctrl-C: promptly, and without leaving a process behind.

At SIGTERM or Ctrl-C Prefect raises in the flow, then waits for the threads of its tasks, for ever if one waits for a
training; then it records the crash, ends its in-process server, and signals again for the handler that was there
before. Python's default would die there and leave what is left of the server. Ranks are told to end and given some time
for a last checkpoint; after that they die with torchrun, and torchrun with this process. The store needs nothing: it is
safe against worse.
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

from pgolf.machine.children import children

# Ranks that are told to end write a last checkpoint first.
LAST_CHECKPOINT_WITHIN_S = 10.0


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the block, SIGTERM ends this process and its children with exit code 143.

    At most `LAST_CHECKPOINT_WITHIN_S` later: for as long as ranks take to keep what they have trained.
    """

    def end(_signal: int, _frame: FrameType | None) -> None:
        deadline = time.monotonic() + LAST_CHECKPOINT_WITHIN_S
        while _end_trainings() and time.monotonic() < deadline:
            time.sleep(0.1)
        _leave()

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_within(grace_s: float) -> None:
    """Give Prefect `grace_s` seconds to record the crash, ending every child but its server meanwhile; then end."""

    def watch() -> None:
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            _end_trainings()
            time.sleep(0.5)
        _leave()

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


def _end_trainings() -> bool:
    """SIGTERM for every torchrun of ours, which may come more than once; False where there is none any more."""
    running = [pid for pid in children(os.getpid()) if b"pgolf.machine.launch" in _command(pid)]
    for pid in running:
        terminate(pid)
    return bool(running)


def _leave() -> None:
    with suppress(OSError):  # nobody reads it any more: the worker that did is what has died
        print("terminated; finished stages are kept and will be reused", file=sys.stderr, flush=True)
    for pid in children(os.getpid()):
        terminate(pid)
    os._exit(128 + signal.SIGTERM)
