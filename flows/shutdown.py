"""Graceful shutdown on SIGTERM and Ctrl-C: prompt, and without leaving processes behind.

On SIGTERM, Prefect raises in the flow, then waits for its task threads, forever if one waits for a training; then it
records the crash and re-raises the signal for the previous handler. Ranks get SIGTERM and a grace period for a last
checkpoint; after that they die with torchrun, and torchrun with this process. The store needs no cleanup: it survives
kill -9.

On Ctrl-C a person waits, so nothing is unwound: the main thread stops where it is, the flow run's state is set by a
request of our own, and the process exits. What other threads would have to say of it has no reader any more.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from types import FrameType

from pgolf.machine.children import children

# Grace period in which ranks write a last checkpoint.
LAST_CHECKPOINT_WITHIN_S = 10.0
# After Ctrl-C: for a request to the server, and for the bars on the terminal to go.
REPORT_WITHIN_S = 2.0
QUIET_WITHIN_S = 0.5


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the block, SIGTERM ends this process and its children with exit code 143.

    At most `LAST_CHECKPOINT_WITHIN_S` later, depending on how long ranks take to write a checkpoint.
    """

    def end(_signal: int, _frame: FrameType | None) -> None:
        _wait_for_checkpoints()
        _exit_now()

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ended_by_ctrl_c(
    *,
    quiet: Callable[[], None],
    kept: Callable[[float], Sequence[str]],
    report: Callable[[], None],
    clear_up: Callable[[], None],
) -> Iterator[None]:
    """Within the block, Ctrl-C ends this process with exit code 130 and one line; a second one at once.

    Where ranks work there is a line more, and `LAST_CHECKPOINT_WITHIN_S` at most for their last checkpoint.

    quiet: leaves the terminal to the line. kept: what was kept since a moment (seconds since 1970), for the line.
    report: tells others that the run has ended, within `REPORT_WITHIN_S`. clear_up: comes last. What they raise is not
    shown.
    """

    def end(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, _exit_at_once)
        # The main thread may hold any lock: it waits here, and whatever needs one has a time limit. The request is made
        # in its context: Prefect's settings may be of that alone.
        inside = copy_context()
        closing = threading.Thread(target=_close, args=(quiet, kept, lambda: inside.run(report), clear_up), daemon=True)
        closing.start()
        while True:
            closing.join(0.1)  # a wait without an end would not hear the second Ctrl-C

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def give_up(why: str) -> None:
    """End this process and its children with exit code 1 and one line, as after SIGTERM: ranks write what they have.

    For what no part of a run can go on without, from whatever thread sees it gone.
    """
    _wait_for_checkpoints()
    _exit_now(why, 1)


def _exit_at_once(_signal: int, _frame: FrameType | None) -> None:
    os._exit(128 + signal.SIGINT)  # ranks, server and all that draws die with us


def _close(
    quiet: Callable[[], None],
    kept: Callable[[float], Sequence[str]],
    report: Callable[[], None],
    clear_up: Callable[[], None],
) -> None:
    began_s, began = time.time(), time.perf_counter()
    try:
        _within(QUIET_WITHIN_S, quiet)
        terminal = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        reporting = threading.Thread(target=_without_a_word, args=(report,), daemon=True)
        reporting.start()
        took = ""
        if _end_trainings():
            _say(
                terminal,
                f"interrupted; ranks write what they have, {LAST_CHECKPOINT_WITHIN_S:g} s at most "
                "(Ctrl-C again: end at once)",
            )
            while _end_trainings() and time.perf_counter() - began < LAST_CHECKPOINT_WITHIN_S:
                time.sleep(0.05)
            found: list[str] = []
            _within(QUIET_WITHIN_S, lambda: found.extend(kept(began_s)))
            took = f" {', '.join(found) or 'there was nothing to write'} after {time.perf_counter() - began:.1f} s;"
        reporting.join(max(0.0, REPORT_WITHIN_S - (time.perf_counter() - began)))
        _within(QUIET_WITHIN_S, clear_up)
        _say(terminal, f"interrupted;{took} finished stages are kept and will be reused")
        for pid in children(os.getpid()):
            terminate(pid)
    finally:
        os._exit(128 + signal.SIGINT)


def _within(limit_s: float, call: Callable[[], object]) -> None:
    """Wait so long for a call that may need a lock which nobody gives back any more."""
    thread = threading.Thread(target=_without_a_word, args=(call,), daemon=True)
    thread.start()
    thread.join(limit_s)


def _without_a_word(call: Callable[[], object]) -> None:
    with suppress(Exception):
        call()


def _say(terminal: int, line: str) -> None:
    with suppress(OSError):
        os.write(terminal, f"{line}\n".encode())


def end_within(grace_s: float) -> None:
    """Exit after `grace_s`, in which Prefect may record the crash; meanwhile end every training."""

    def watch() -> None:
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            _end_trainings()
            time.sleep(0.5)
        _exit_now()

    threading.Thread(target=watch, daemon=True).start()


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


def _wait_for_checkpoints() -> None:
    """End every training, and give its ranks the time for a last checkpoint."""
    deadline = time.monotonic() + LAST_CHECKPOINT_WITHIN_S
    while _end_trainings() and time.monotonic() < deadline:
        time.sleep(0.1)


def _exit_now(why: str = "terminated", exit_code: int = 128 + signal.SIGTERM) -> None:
    with suppress(OSError):  # the worker that read our stderr may have died
        print(f"{why}; finished stages are kept and will be reused", file=sys.stderr, flush=True)
    for pid in children(os.getpid()):
        terminate(pid)
    os._exit(exit_code)
