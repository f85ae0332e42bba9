"""Watches what a stage's code opens, runs and connects to, and ends it at the first thing that its key does not name.

Python tells its audit hooks (PEP 578) about every file that it opens, program that it starts and text that it runs as
code. Asked are the threads of a stage, that is the one that entered `watching` and those that these start, and every
module of ours while it is imported. Libraries may read the system, their own installation, and their settings
while they are imported; nobody may read a project's files but a stage's inputs, its scratch and output folders, and
what it has itself written. Not seen are files that C code opens by itself (safetensors, Arrow and SentencePiece take
paths).
"""

import itertools
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from urllib.parse import unquote

from pgolf.errors import UndeclaredRead
from pgolf.identity.environment import hide_where
from pgolf.identity.loopback import is_loopback
from pgolf.identity.origins import distribution_of, is_installed, is_of_interpreter, top_in_site
from pgolf.identity.snapshot import CODE

# What may do more on a stage's thread than a stage may: it loads code, starts ranks, reports and answers signals.
_MACHINERY_BESIDES_IMPORTS = ("flows", "tasks", "pgolf.pipeline", "pgolf.machine")
_MACHINERY = (*_MACHINERY_BESIDES_IMPORTS, "pgolf.identity")
# Where libraries look for what the machine has, and keep what they compiled.
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", "/lib/", "/lib64/", "/nix/store/")
_COMPILED = ("/torchinductor", "/.triton/", "/.nv/", "/__pycache__/", "/.cache/torch/", "/.cache/numba/")
# Modules of the standard library that know themselves which files of the system they read.
_OF_THE_SYSTEM = frozenset(
    {"zoneinfo", "mimetypes", "platform", "locale", "gettext", "ssl", "socket", "uuid", "getpass"}
)
_METADATA = (".dist-info/", ".egg-info/")  # versions and entry points of distributions, wherever they lie
_FOR_ALL = ("/dev/null", "/dev/urandom", "/usr/share/zoneinfo/")
_ONLY_WRITES = os.O_TRUNC | os.O_EXCL
_IMPORT_SYSTEM = "<frozen importlib"

_Told = TypeVar("_Told")
_of_this_thread = threading.local()
_running: list["Watch"] = []


class Watch:
    """What may be read. what: of whom errors speak. roots: files and folders, with all below them. modules: those of
    the snapshot that may be imported; None for all. network: whether other machines may be asked, and downloads read.
    """

    def __init__(
        self,
        what: str,
        roots: Iterable[Path],
        *,
        modules: Collection[str] | None = None,
        network: bool = False,
        is_stage: bool = True,
    ) -> None:
        self.what, self.modules, self.network, self.is_stage = what, modules, network, is_stage
        paths = [path for root in roots for path in (os.path.abspath(root), os.path.realpath(root))]
        self.files = set(paths)
        self.folders = tuple(os.path.join(path, "") for path in dict.fromkeys(paths))
        self.thread = threading.get_ident()
        self.outermost: FrameType | None = None
        self.first_error: UndeclaredRead | None = None
        self.ended = False

    def open(self, path: Any, _mode: object, flags: object) -> None:
        """A file is opened."""
        if path is None or isinstance(path, int):  # open already
            return
        name = os.path.abspath(os.fsdecode(path))
        if self._holds(name) or os.path.isdir(name):
            return
        is_new = not os.path.lexists(name)
        if isinstance(flags, int) and (flags & _ONLY_WRITES or (is_new and flags & os.O_CREAT)):
            self.files.add(name)
        elif not is_new and not (isinstance(flags, int) and flags & os.O_ACCMODE == os.O_WRONLY):
            self._refuse_unless_installed(name)

    def load(self, _module: str, file: str | None, *_paths: object) -> None:
        """A module is imported; file: of C extensions."""
        if file is not None:
            self.open(file, "rb", os.O_RDONLY)

    def load_ours(self, module: str) -> None:
        """A module of the snapshot is imported."""
        if self.modules is not None and module not in self.modules:
            self._refuse(f"imports {module},", machinery=_MACHINERY_BESIDES_IMPORTS)

    def open_library(self, name: object) -> None:
        """A shared library is loaded by its path."""
        if isinstance(name, str | bytes) and os.sep in os.fsdecode(name):
            self.open(name, "rb", os.O_RDONLY)

    def open_database(self, path: Any) -> None:
        """SQLite opens a file, or makes one. A file that it attaches later is not seen."""
        name = os.fsdecode(path)
        if name.startswith("file:"):
            name = unquote(name.removeprefix("file:").partition("?")[0])
        if name and name != ":memory:":
            self.open(name, "rb", os.O_RDWR | os.O_CREAT)

    def start(self, program: object, *_arguments: object) -> None:
        """A program is started."""
        if not _is_library(self._reader()) and not self._asks_the_system():
            self._refuse(f"starts the program {program}")

    def run_text(self, *_text: object) -> None:
        """Text is compiled or run, by our own code: dataclasses, compilers and imports do it all the time."""
        frame = sys._getframe(2)
        if frame is not self.outermost and _is_ours(frame):
            self._refuse("runs text as code")

    def connect(self, _socket: object, address: object) -> None:
        """A connection is made."""
        if isinstance(address, tuple) and not self.network and not is_loopback(str(address[0])):
            self._refuse(f"connects to {address[0]}, port {address[1]},")

    def make_folder(self, path: Any) -> None:
        """A temporary folder is made."""
        self.folders += (os.path.join(os.path.abspath(os.fsdecode(path)), ""),)

    def link(self, source: Any, *_target: object) -> None:
        """A file gets another name, under which it could be read."""
        self.open(source, "rb", os.O_RDONLY)

    def rename(self, source: Any, target: Any, *_folders: object) -> None:
        """A file gets another name."""
        if os.path.abspath(os.fsdecode(source)) in self.files:
            self.files.add(os.path.abspath(os.fsdecode(target)))

    def is_by_machinery(self) -> bool:
        """Whether our own machinery, and not the stage, is at work on this thread."""
        return any(_belongs_to(frame, _MACHINERY_BESIDES_IMPORTS) for frame in self._stack())

    def _holds(self, path: str) -> bool:
        return path in self.files or path.startswith(self.folders)

    def _refuse_unless_installed(self, path: str) -> None:
        if self.network:  # what it downloads lies where a library keeps it, and is known by its content
            return
        innermost = next(self._stack(), None)
        importing = innermost is not None and innermost.f_code.co_filename.startswith(_IMPORT_SYSTEM)
        if is_of_interpreter(path) or path.startswith(_FOR_ALL) or (importing and is_installed(path)):
            return
        if any(part in path for part in _METADATA):
            return
        reader = self._reader()
        by_library = _is_library(reader)
        top = top_in_site(path)
        if top is not None and (top in sys.modules or (by_library and distribution_of(top) is not None)):
            return
        if by_library and (path.startswith(_SYSTEM) or any(part in path for part in _COMPILED)):
            return
        if by_library and path in (file.path for file in CODE.files.values()):
            return  # compilers look at the source of what they compile
        if path in (os.path.abspath(frame.f_code.co_filename) for frame in self._stack(whole=True)):
            return  # a line of the stack is shown
        if path.startswith(_SYSTEM) and self._asks_the_system():
            return
        before_ours = itertools.takewhile(lambda frame: not _is_ours(frame), self._stack())
        if any(frame.f_code.co_name == "<module>" and _is_library(frame) for frame in before_ours):
            return  # a library's own settings, while it is imported
        if not self._holds(os.path.realpath(path)):
            self._refuse(f"opens {path}")

    def _refuse(self, what: str, machinery: tuple[str, ...] = _MACHINERY) -> None:
        """Raise, unless our own machinery does it on this thread."""
        stack = list(self._stack())
        if any(_belongs_to(frame, machinery) for frame in stack):
            return
        # A pool's thread may show no line of ours: then the line at which the stage waits for it.
        waiting = self._stack(sys._current_frames().get(self.thread))
        shown = (*stack, *waiting)
        by_others = (frame for frame in shown if not is_installed(frame.f_code.co_filename))
        ours = next(filter(_is_stages_code, shown), next(by_others, None))
        where = f"{ours.f_code.co_filename}:{ours.f_lineno}: " if ours else ""
        error = UndeclaredRead(
            f"{where}{self.what} {what} which its key does not name, so that it would not run again when that changes; "
            "pass a value in the stage's config, data as an input, and write code into a module that is imported"
        )
        self.first_error = self.first_error or error
        raise error

    def _stack(self, innermost: FrameType | None = None, *, whole: bool = False) -> Iterator[FrameType]:
        """Frames from the innermost (default: of this thread) to the one that began to watch, without that one."""
        frame: FrameType | None = innermost or sys._getframe(1)
        while frame is not None and (whole or frame is not self.outermost):
            if frame.f_globals is not _GLOBALS:
                yield frame
            frame = frame.f_back

    def _asks_the_system(self) -> bool:
        before_ours = itertools.takewhile(lambda frame: not _is_ours(frame), self._stack())
        return any(_top_of(frame) in _OF_THE_SYSTEM for frame in before_ours)

    def _reader(self) -> FrameType | None:
        """Whoever called the standard library."""
        return next((frame for frame in self._stack() if not is_of_interpreter(frame.f_code.co_filename)), None)


_GLOBALS = globals()


def _top_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _is_ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") in CODE.files


def _is_stages_code(frame: FrameType) -> bool:
    return _is_ours(frame) and not _belongs_to(frame, ("pgolf.identity",))


def _is_library(frame: FrameType | None) -> bool:
    return frame is not None and not _is_ours(frame) and is_installed(frame.f_code.co_filename)


def _belongs_to(frame: FrameType, packages: tuple[str, ...]) -> bool:
    name = str(frame.f_globals.get("__name__"))
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@contextmanager
def watching(watch: Watch, outermost: FrameType | None = None) -> Iterator[None]:
    """Watch this thread, and those that it starts, while the block runs. outermost: that of the block.

    Raises UndeclaredRead where something else is read, and once more at the end of the block if that was swallowed.
    """
    _begin()
    before = _now()
    watch.outermost = outermost or sys._getframe(2)
    _of_this_thread.watch = watch
    if watch.is_stage:
        _running.append(watch)
    try:
        yield
    finally:
        if watch.is_stage:
            _running.remove(watch)
        watch.ended, watch.outermost = True, None
        _of_this_thread.watch = before
    if watch.first_error is not None:
        raise watch.first_error


@contextmanager
def watching_import(module: str) -> Iterator[None]:
    """Watch this thread while a module of the snapshot is imported.

    What a module reads then, it reads once for all stages, and often long before one of them is watched. Raises
    UndeclaredRead also where a running stage does not import that module by a statement.
    """
    now = _now()
    if now is not None:
        now.load_ours(module)
    modules, is_stage = (None, False) if now is None else (now.modules, now.is_stage)
    with watching(Watch(f"the import of {module}", (), modules=modules, is_stage=is_stage), sys._getframe(2)):
        yield


def _now() -> Watch | None:
    """The watch of this thread."""
    try:
        watch: Watch | None = _of_this_thread.watch
    except AttributeError:
        # Not current_thread(): for a thread of C code it would make an object that stays.
        thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
        watch = getattr(thread, "_pgolf_watch", None)
        _of_this_thread.watch = watch
    if watch is None or not watch.ended:
        return watch
    # The thread of a pool that an earlier stage has filled works for the one that runs now, if that is one.
    return _running[0] if watch.is_stage and len(_running) == 1 else None


# By the names of Python's audit events.
_CHECKS: dict[str, Callable[..., None]] = {
    "open": Watch.open,
    "import": Watch.load,
    "exec": Watch.run_text,
    "compile": Watch.run_text,
    "ctypes.dlopen": Watch.open_library,
    "sqlite3.connect": Watch.open_database,
    "subprocess.Popen": Watch.start,
    "os.system": Watch.start,
    "os.exec": Watch.start,
    "os.posix_spawn": Watch.start,
    "os.link": Watch.link,
    "os.rename": Watch.rename,
    "os.symlink": Watch.link,
    "socket.connect": Watch.connect,
    "tempfile.mkdtemp": Watch.make_folder,
}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    check = _CHECKS.get(event)
    if check is not None:
        watch = _now()
        if watch is not None:
            check(watch, *arguments)


def _start(thread: threading.Thread) -> None:
    """`Thread.start`, of which Python tells no hook before 3.12."""
    watch = _now()
    if watch is not None and watch.is_by_machinery():
        watch = None
    thread._pgolf_watch = watch  # type: ignore[attr-defined]
    _START(thread)


_START = threading.Thread.start


def outside(call: Callable[[_Told], None]) -> Callable[[_Told], None]:
    """A function of whoever runs a stage, for the stage to call: what it does there is not the stage's doing."""

    def called(told: _Told) -> None:
        before = _now()
        _of_this_thread.watch = None
        try:
            call(told)
        finally:
            _of_this_thread.watch = before

    return called


def is_watched() -> bool:
    """Whether this thread is a running stage's."""
    watch = _now()
    return watch is not None and watch.is_stage


def _hides() -> bool:
    """Whether the environment is to be hidden from whoever asks."""
    watch = _now()
    return watch is not None and watch.is_stage and not watch.is_by_machinery()


@cache
def _begin() -> None:
    """Once in a process: a hook cannot be taken away."""
    sys.addaudithook(_hook)
    threading.Thread.start = _start  # type: ignore[assignment, method-assign]
    hide_where(_hides)
