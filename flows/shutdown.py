"""Graceful shutdown on SIGTERM: prompt, and without leaving processes behind.

On SIGTERM or Ctrl-C, Prefect raises in the flow, then waits for its task threads, forever if one waits for a training;
then it records the crash, ends its in-process server, and re-raises the signal for the previous handler. Python's
default would exit there and leave the rest of the server running. Ranks get SIGTERM and a grace period for a last
checkpoint; after that they die with torchrun, and torchrun with this process. The store needs no cleanup: it survives
kill -9.
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

# Grace period in which ranks write a last checkpoint.
LAST_CHECKPOINT_WITHIN_S = 10.0


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the block, SIGTERM ends this process and its children with exit code 143.

    At most `LAST_CHECKPOINT_WITHIN_S` later, depending on how long ranks take to write a checkpoint.
    """

    def end(_signal: int, _frame: FrameType | None) -> None:
        deadline = time.monotonic() + LAST_CHECKPOINT_WITHIN_S
        while _end_trainings() and time.monotonic() < deadline:
            time.sleep(0.1)
        _exit_now()

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_within(grace_s: float) -> None:
    """Exit after `grace_s`, in which Prefect may record the crash; meanwhile end every training."""

    def watch() -> None:
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            _end_trainings()
            time.sleep(0.5)
        _exit_now()

    threading.Thread(target=watch, daemon=True).start()


def end_server_with_us() -> None:
    """Make sure that Prefect's in-process server ends soon after this process, even after kill -9.

    The server is a child process that otherwise survives kill -9 of its parent (seen: 60 % of a core, indefinitely).
    PDEATHSIG cannot be set from outside, so a shell watches both processes.
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
    """Send SIGTERM if the process still exists."""
    with suppress(ProcessLookupError):  # already exited
        os.kill(pid, signal.SIGTERM)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _end_trainings() -> bool:
    """Send SIGTERM to every torchrun of ours (repeating it is harmless); False if there is none left."""
    running = [pid for pid in children(os.getpid()) if b"pgolf.machine.launch" in _command(pid)]
    for pid in running:
        terminate(pid)
    return bool(running)


def _exit_now() -> None:
    with suppress(OSError):  # the worker that read our stderr may have died
        print("terminated; finished stages are kept and will be reused", file=sys.stderr, flush=True)
    for pid in children(os.getpid()):
        terminate(pid)
    os._exit(128 + signal.SIGTERM)
