"""From a fork to the program that was asked for, as if the interpreter had just begun."""

import atexit
import ctypes
import gc
import importlib
import io
import os
import runpy
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

FIRST_FREE = 3  # descriptors below it are stdin, stdout and stderr


@dataclass(frozen=True)
class Program:
    """`python [-u] -m module arguments`, and where it runs."""

    python: str
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    unbuffered: bool
    safe_path: bool  # without the folder on its path
    new_session: bool

    @property
    def words(self) -> list[str]:
        """The command line."""
        return [self.python, *(["-u"] if self.unbuffered else []), "-m", self.module, *self.arguments]

    @property
    def path(self) -> list[str]:
        """Where it looks for modules before the interpreter's own places."""
        first = [] if self.safe_path or self.environment.get("PYTHONSAFEPATH") else [self.folder]
        return [*first, *filter(None, self.environment.get("PYTHONPATH", "").split(os.pathsep))]


def run(program: Program, standard: Sequence[int], kept: Sequence[int], interpreter_path: Sequence[str]) -> NoReturn:
    """Be the program in this process, a fork, until it ends.

    standard: what become stdin, stdout and stderr. kept: further descriptors that stay open under their numbers.
    """
    exit_code = 1
    try:
        atexit._clear()  # what the process above wants done at its own end
        gc.freeze()  # no finalizer of what was inherited runs here
        take_descriptors(standard, kept)
        _reset_signals()
        if program.new_session:
            os.setsid()
        os.chdir(program.folder)
        os.environ.clear()
        os.environ.update(program.environment)
        time.tzset()
        _show_command_line(program.words)
        sys.argv[:] = ["-m", *program.arguments]
        sys.orig_argv[:] = program.words
        sys.path[:] = [*program.path, *interpreter_path]
        importlib.invalidate_caches()
        _open_standard_streams(unbuffered=program.unbuffered or bool(program.environment.get("PYTHONUNBUFFERED")))
        warnings.resetwarnings()
        _customize(program.path)
        _set_logging()
        _set_threads()
        exit_code = _run_module(program.module)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            threading._shutdown()
        with suppress(BaseException):
            atexit._run_exitfuncs()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            exit_code = 120  # as the interpreter's own end does
        os._exit(exit_code)


def _run_module(module: str) -> int:
    """The exit code of `python -m module`."""
    try:
        if not hasattr(sys.modules.get(module), "__path__"):  # of a package, `__main__` is run
            sys.modules.pop(module, None)  # else runpy warns that it runs twice
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def take_descriptors(standard: Sequence[int], kept: Sequence[int]) -> None:
    """Standard streams in their places, and nothing else of what was open but `kept`."""
    spare = [os.dup(descriptor) for descriptor in standard]
    for number, descriptor in enumerate(spare):
        os.dup2(descriptor, number, inheritable=True)
    # Closed numbers would be given out again, to be closed once more by whatever still believes to own them.
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor >= FIRST_FREE and descriptor not in (nothing, *kept):
            with suppress(OSError):
                os.fstat(descriptor)
                os.dup2(nothing, descriptor, inheritable=False)
    for descriptor in kept:
        os.set_inheritable(descriptor, True)


def _reset_signals() -> None:
    """As at the start of an interpreter: defaults, but for SIGINT and SIGPIPE; what was ignored stays so."""
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) and not isinstance(signal.getsignal(number), signal.Handlers):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _open_standard_streams(*, unbuffered: bool) -> None:
    def text(descriptor: int, mode: str, **options: bool) -> io.TextIOWrapper:
        raw = open(descriptor, mode, 0 if unbuffered and mode == "wb" else -1, closefd=False)  # noqa: SIM115
        return io.TextIOWrapper(raw, encoding="utf-8", **options)

    sys.stdin = sys.__stdin__ = text(0, "rb")
    sys.stdout = sys.__stdout__ = text(1, "wb", write_through=unbuffered, line_buffering=os.isatty(1))
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(
        open(2, "wb", 0 if unbuffered else -1, closefd=False),  # noqa: SIM115
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def _show_command_line(words: Sequence[str]) -> None:
    """Have /proc/<pid>/cmdline say what runs, in the place of what the template was called with."""
    start, end = map(int, Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[45:47])
    shown = b"".join(word.encode() + b"\0" for word in words)[: end - start - 1]
    ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def _set_threads() -> None:
    """As many as a new process would have; the template has read another environment."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))


def _set_logging() -> None:
    """To the streams that are open now, where Prefect was imported before."""
    configuration = sys.modules.get("prefect.logging.configuration")
    if configuration is not None:
        configuration.setup_logging()


def _customize(path: Sequence[str]) -> None:
    """What a `sitecustomize` on the program's path does at the start of an interpreter."""
    for folder in path:
        if (customizing := Path(folder) / "sitecustomize.py").is_file():
            runpy.run_path(str(customizing))
            return
