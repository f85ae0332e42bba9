"""Ctrl-C on the command line: one line and exit code 130, wherever it finds the program; a second one ends it at once.

Imported before everything else of ours, so it loads nothing: the imports are most of what a short command does.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = "interrupted; finished stages are kept and will be reused"
_EXIT_CODE = 128 + signal.SIGINT
_MODULE = "flows.commands.cli"


def end_at_once_while_starting() -> None:
    """If this process is the command line: from now on Ctrl-C ends it without unwinding, for nothing has begun."""
    is_command = os.path.basename(sys.argv[0]) == "pgolf" or (sys.argv[0] == "-m" and _MODULE in sys.orig_argv)
    if is_command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


@contextmanager
def unwound_once() -> Iterator[None]:
    """Within the block Ctrl-C raises KeyboardInterrupt, so that what has begun is cleared up; a second ends at once.

    So does one in the midst of an import, where callbacks of Python's own would lose the exception.
    """
    heard = False

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if heard or _is_importing(frame):
            _end_at_once(number, frame)
        heard = True
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before not in (signal.default_int_handler, _end_at_once):
        yield  # somebody else listens
        return
    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def _end_at_once(_number: int, frame: FrameType | None) -> None:
    said, exit_code = INTERRUPTED, _EXIT_CODE
    if frame is not None and frame.f_code.co_name == "<module>" and (lack := _lack_of_a_library()):
        said, exit_code = f"MachineError: {lack}", 2
    with suppress(OSError):  # closed, or nobody reads
        os.write(2, f"{said}\n".encode())
    os._exit(exit_code)


def _lack_of_a_library() -> str | None:
    """What a library lacks that interrupts us itself while it is loaded, if this process is limited at all."""
    lack = sys.modules.get("pgolf.machine.lack")  # loaded before any such library
    return None if lack is None else lack.interrupted_by_library()
