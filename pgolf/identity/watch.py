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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from urllib.parse import unquote

from pgolf.errors import UndeclaredRead
from pgolf.identity.environment import compiled_folders, hide_where
from pgolf.identity.loopback import is_loopback
from pgolf.identity.origins import distributions_of, is_installed, is_needed_by, is_of_interpreter, top_in_site
from pgolf.identity.snapshot import CODE, IMPORTER, SnapshotImporter

# What may do more on a stage's thread than a stage may: it loads code, starts ranks, reports and answers signals.
_MACHINERY_BESIDES_IMPORTS = ("flows", "tasks", "pgolf.pipeline", "pgolf.machine")
_MACHINERY = (*_MACHINERY_BESIDES_IMPORTS, "pgolf.identity")
# Where libraries look for what the machine has, and keep what they compiled.
_SYSTEM = (
    *("/proc/", "/sys/", "/dev/", "/etc/", "/lib/", "/lib64/", "/nix/store/"),
    *(f"/usr/{part}/" for part in ("bin", "sbin", "lib", "lib32", "lib64", "libexec", "include", "share")),
    *(f"/usr/local/{part}" for part in ("bin/", "lib/", "lib64/", "include/", "share/", "cuda", "nvidia/")),
)
_LEADS_ELSEWHERE = ("/proc/", "/dev/")  # links to folders and files of processes
_NOT_OF_SYSTEM = ("/dev/shm/", "/dev/mqueue/")
_COMPILED = ("/torchinductor_", "/.triton/", "/.nv/", "/.cache/torch/kernels/", "/.cache/numba/")
_COMPILERS = ("torch._dynamo", "torch._inductor", "torch._sources", "torch.jit", "triton", "numba")
_COMPILED_BY_PYTHON = (".pyc", ".nbi", ".nbc")
# Modules of the standard library that know themselves which files of the system they read.
_OF_THE_SYSTEM = frozenset(
    {"zoneinfo", "mimetypes", "platform", "locale", "gettext", "ssl", "socket", "uuid", "getpass"}
)
# Versions and entry points of distributions, wherever they lie.
_METADATA_FOLDERS = (".dist-info", ".egg-info")
_METADATA = frozenset(
    (
        *("METADATA", "PKG-INFO", "RECORD", "WHEEL", "INSTALLER", "REQUESTED", "SOURCES.txt", "direct_url.json"),
        *("entry_points.txt", "top_level.txt", "requires.txt"),
    )
)
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
        name = _place(path)
        if self._holds(name) or os.path.isdir(name):
            return
        is_new = not os.path.lexists(name)
        if isinstance(flags, int) and (flags & _ONLY_WRITES or (is_new and flags & os.O_CREAT)):
            self._own(name)
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

    def make_folder(self, path: Any, _mode: object, folder: int) -> None:
        """A folder is made."""
        name = _place(path, folder)
        if not self._holds(name) and not os.path.lexists(name):
            self._own(name, is_folder=True)

    def link(self, target: Any, name: Any, folder: int) -> None:
        """A symbolic link is made. What may be read by its name is what may be read where it leads."""
        link = _place(name, folder)
        leads_to = os.path.realpath(os.path.join(os.path.dirname(link), os.fsdecode(target)))
        if self._holds(link) and not self._holds(leads_to) and os.path.exists(leads_to):
            self._refuse_unless_installed(leads_to, "makes a link to")

    def rename(self, source: Any, target: Any, source_folder: int, target_folder: int) -> None:
        """A file or folder gets another name, or one more: what the stage itself made stays its own."""
        old, new = _place(source, source_folder), _place(target, target_folder)
        if os.path.islink(old):
            self.link(os.readlink(old), new, -1)
        if not self._holds(old):
            if self._holds(new) and os.path.lexists(old):
                self._refuse_unless_installed(old, "gives a name to")
        elif not self._holds(new):
            self._own(new, is_folder=os.path.isdir(old))

    def is_by_machinery(self) -> bool:
        """Whether our own machinery, and not the stage, is at work on this thread."""
        return any(_belongs_to(frame, _MACHINERY_BESIDES_IMPORTS) for frame in self._stack())

    def _holds(self, path: str) -> bool:
        return path in self.files or path.startswith(self.folders)

    def _own(self, path: str, *, is_folder: bool = False) -> None:
        names = {path, os.path.realpath(path)}
        self.files |= names
        if is_folder:
            self.folders += tuple(os.path.join(name, "") for name in names)

    def _refuse_unless_installed(self, path: str, does: str = "opens") -> None:
        if self.network:  # what it downloads lies where a library keeps it, and is known by its content
            return
        if is_of_interpreter(path) or path.startswith(_FOR_ALL) or (self._imports() and is_installed(path)):
            return
        folder, name = os.path.split(path)
        if name in _METADATA and folder.endswith(_METADATA_FOLDERS):
            return
        reader = self._reader()
        by_library = _is_library(reader)
        if self._is_of_distribution(path):
            return
        if by_library and (_is_systems(path) or _is_compiled(path)):
            return
        ours = {file.path for file in CODE.files.values()} if by_library else set()
        compiles = by_library and reader is not None and _belongs_to(reader, _COMPILERS)
        if (compiles or self._shows_lines()) and path in ours | self._files_of_stack():
            return  # a line of the stack is shown, or a compiler looks at the source of what it compiles
        if _is_systems(path) and self._asks_the_system():
            return
        if any(frame.f_code.co_name == "<module>" and _is_library(frame) for frame in self._before_ours()):
            return  # a library's own settings, while it is imported
        if not self._holds(os.path.realpath(path)):
            self._refuse(f"{does} {path}")

    def _is_of_distribution(self, path: str) -> bool:
        """Whether a file belongs to a distribution that the key names, or that those which ask for it need."""
        top = (top_in_site(path) or "").partition(".")[0]  # also of numpy.libs, or six.py
        if not top or top in IMPORTER.packages or not (owners := distributions_of(top)):
            return False
        asking = {
            distribution
            for frame in self._before_ours()
            for distribution in distributions_of((top_in_site(frame.f_code.co_filename) or "").partition(".")[0])
        }
        if any(is_needed_by(owner, distribution) for owner in owners for distribution in asking):
            return True
        return not owners.keys().isdisjoint(_distributions_of_ours(self.modules))

    def _imports(self) -> bool:
        """Whether it is an import that reads, and not somebody whom a loader reads data for."""
        system = [*itertools.takewhile(lambda f: f.f_code.co_filename.startswith(_IMPORT_SYSTEM), self._stack())]
        return bool(system) and system[-1].f_code.co_name != "get_data"

    def _shows_lines(self) -> bool:
        """Whether it is for a traceback or a compiler that the lines of a file are read, and not for our own code."""
        names = [frame.f_globals.get("__name__") for frame in self._before_ours()]
        return "linecache" in names and names[-1] != "linecache"

    def _files_of_stack(self) -> set[str]:
        return {os.path.abspath(frame.f_code.co_filename) for frame in self._stack(whole=True)}

    def _before_ours(self) -> Iterator[FrameType]:
        """The innermost frames, up to the first of our code."""
        return itertools.takewhile(lambda frame: not _is_ours(frame), self._stack())

    def _refuse(self, what: str, machinery: tuple[str, ...] = _MACHINERY) -> None:
        """Raise, unless our own machinery does it on this thread."""
        stack = list(self._stack())
        # What pkgutil has our importer read, it reads for others.
        if any(_belongs_to(frame, machinery) and frame.f_code is not _READS_FOR_OTHERS for frame in stack):
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
        return any(_top_of(frame) in _OF_THE_SYSTEM for frame in self._before_ours())

    def _reader(self) -> FrameType | None:
        """Whoever called the standard library."""
        return next((frame for frame in self._stack() if not is_of_interpreter(frame.f_code.co_filename)), None)


_GLOBALS = globals()
_READS_FOR_OTHERS = SnapshotImporter.get_data.__code__


def _place(path: Any, folder: int = -1) -> str:
    """The absolute path of a file as the system finds it. folder: a descriptor of the one that it is relative to."""
    name = os.fsdecode(path)
    if folder >= 0:
        with suppress(OSError):
            name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
    if ".." in name.split(os.sep):  # of a folder behind a link, the system takes the folder above where it leads
        above, last = os.path.split(name)
        return os.path.realpath(name) if last in ("", "..") else os.path.join(os.path.realpath(above), last)
    return os.path.abspath(name)


def _is_systems(path: str) -> bool:
    """Whether a file is the system's, and does not lead to one that is not."""
    if path.startswith(_LEADS_ELSEWHERE):
        path = os.path.realpath(path)
    return path.startswith(_SYSTEM) and not path.startswith(_NOT_OF_SYSTEM)


def _is_compiled(path: str) -> bool:
    """Whether a file is what a library has compiled."""
    if path.startswith(_named_for_compiled()):
        return True
    return any(part in path for part in _COMPILED) or ("/__pycache__/" in path and path.endswith(_COMPILED_BY_PYTHON))


@cache
def _named_for_compiled() -> tuple[str, ...]:
    """Asked once, before a stage could say otherwise."""
    return compiled_folders()


def _distributions_of_ours(modules: Collection[str] | None) -> Collection[str]:
    """Distributions that these modules import, a stage's whole closure: its key holds their versions.

    None: those that the modules import which are loaded so far.
    """
    return _distributions_imported(frozenset(CODE.files.keys() & (sys.modules.keys() if modules is None else modules)))


@cache
def _distributions_imported(modules: frozenset[str]) -> Collection[str]:
    from pgolf.identity.closure import distributions_imported

    return distributions_imported(modules).keys()


def _top_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _is_ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") in CODE.files


def _is_stages_code(frame: FrameType) -> bool:
    return _is_ours(frame) and not _belongs_to(frame, ("pgolf.identity",))


def _is_library(frame: FrameType | None) -> bool:
    if frame is None or _is_ours(frame):
        return False
    file = frame.f_code.co_filename
    return is_of_interpreter(file) or bool(distributions_of((top_in_site(file) or "").partition(".")[0]))


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
    "os.link": Watch.rename,
    "os.rename": Watch.rename,
    "os.symlink": Watch.link,
    "os.mkdir": Watch.make_folder,
    "socket.connect": Watch.connect,
}


def _hook(
    event: str,
    arguments: tuple[Any, ...],
    # Bound here: a module's names are None before the interpreter's last files are closed.
    checks: Mapping[str, Callable[..., None]] = _CHECKS,
    is_ending: Callable[[], bool] = sys.is_finalizing,
) -> None:
    check = checks.get(event)
    if check is not None and not is_ending():
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
    _named_for_compiled()
    sys.addaudithook(_hook)
    threading.Thread.start = _start  # type: ignore[assignment, method-assign]
    hide_where(_hides)
