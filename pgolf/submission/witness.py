"""Tells, from inside every Python process of a clean room, which files it opens, what it imports, runs and connects to.

The room has a copy of this file as `sitecustomize.py`, so it stands alone. It writes a line per event into the pipe
`seen` beside it, from which nothing can be taken back: kind, then values, each escaped, with tabs between. It is no
lock: who wants to can open files without Python. What cannot be reached is the room's doing.
"""

import contextlib
import os
import sys
from opcode import opmap
from types import FrameType

# What a function names that imports by call.
_IMPORTERS = {"import_module", "__import__"}
_MOST_BYTES = 4000  # a line of a pipe is written in one piece
_MOST_EVENTS = 50_000
# Event -> where among its values the folder is that its path is relative to, a descriptor or -1.
_CHANGES = {"os.remove": 1, "os.rename": 2, "os.truncate": -1, "os.chmod": 2, "os.utime": 3}
_ADDRESSES = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_PROGRAMS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}


class _Witness:
    def __init__(self, pipe: str) -> None:
        self.pipe = pipe
        # What belongs to the interpreter and to distributions is no file of the submission.
        own = {sys.prefix, sys.base_prefix, *(path for path in sys.path if path.endswith(("site-packages", ".zip")))}
        system = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/proc", "/sys", "/dev", "/etc")
        self.library = os.path.join(os.path.dirname(os.__file__), "")
        self.passed_over = tuple(os.path.join(path, "") for path in (*own, *system))
        self.told: set[tuple[str, ...]] = set()

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _mode, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_CREAT)
            self.file("write" if writes else "read", path)
        elif event == "import":
            self.module(str(arguments[0]))
        elif event in _CHANGES:
            folder = -1 if _CHANGES[event] < 0 else arguments[_CHANGES[event]]
            if not isinstance(folder, int) or folder < 0:
                self.file("write", arguments[0])
            elif isinstance(arguments[0], str):
                self.file("write", os.path.join(os.readlink(f"/proc/self/fd/{folder}"), arguments[0]))
        elif event in _ADDRESSES:
            self.address(arguments[1])
        elif event == "socket.getaddrinfo":
            self.address((arguments[0],))
        elif event == "sqlite3.connect":
            self.database(arguments[0])
        elif event in _PROGRAMS:
            program = arguments[0] if isinstance(arguments[0], str | bytes) else ""
            self.tell("run", os.fsdecode(program))
        elif event == "ctypes.dlopen" and isinstance(arguments[0], str) and "/" in arguments[0]:
            self.file("read", arguments[0])

    def file(self, kind: str, path: object) -> None:
        if isinstance(path, os.PathLike):
            path = os.fspath(path)
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, str) and path != self.pipe:
            full = os.path.abspath(path)
            if kind == "write" or not full.startswith(self.passed_over):
                self.tell(kind, full)

    def database(self, path: object) -> None:
        """By its path or an address of it (file:PATH?mode=ro); one in memory has none."""
        if isinstance(path, str) and path.startswith("file:"):
            path = path.removeprefix("file:").partition("?")[0]
        if path not in ("", b"", ":memory:"):
            self.file("read", path)

    def module(self, name: str) -> None:
        """Of the modules that the submission's own code asks for, not those that these ask for in their turn."""
        frame: FrameType | None = sys._getframe(1)
        by_call = False
        while frame is not None:
            asks = frame.f_code.co_filename
            if asks.endswith(("/importlib/util.py", "<frozen importlib.util>")):
                return  # only asks whether there is one
            if asks != __file__ and not asks.startswith("<frozen importlib"):
                # The standard library imports modules of others for whoever asks it to (importlib, pkgutil, runpy).
                if not asks.startswith(("<frozen", self.library)) or "-packages/" in asks:
                    break
                by_call = by_call or "/importlib/" in asks or bool(_IMPORTERS & {*frame.f_code.co_names})
            frame = frame.f_back
        if frame is None:
            return
        # Compiled modules have no frames: what they import would seem to be asked for by who imported them.
        if not asks.startswith(("<frozen", *self.passed_over)) and (by_call or _says_import(frame, name)):
            self.tell("import", name.partition(".")[0], asks)

    def address(self, address: object) -> None:
        """Of the network; a socket of this machine is a file, or has a name that is no path."""
        if isinstance(address, str | bytes) and address[:1] in ("/", b"/"):
            self.file("read", address)
        if not isinstance(address, tuple) or not address:
            return
        host = address[0].decode(errors="replace") if isinstance(address[0], bytes) else address[0]
        local = ("127.", "localhost", "::1", "0.0.0.0", "clean-room")
        if isinstance(host, str) and host not in ("", "::") and not host.startswith(local):
            self.tell("connect", host)

    def tell(self, *values: str) -> None:
        if values in self.told or len(self.told) > _MOST_EVENTS:
            return
        self.told.add(values)
        line = "\t".join(value.encode("unicode_escape").decode() for value in values)
        # The pipe is opened each time: a program may close all numbers that it does not know.
        with contextlib.suppress(OSError):
            pipe = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.set_blocking(pipe, True)
                os.write(pipe, line.encode()[: _MOST_BYTES - 1] + b"\n")
            finally:
                os.close(pipe)


def _says_import(frame: FrameType, name: str) -> bool:
    """Whether the statement that a frame is at imports a module of this name."""
    code, at = frame.f_code.co_code, frame.f_lasti
    if code[at] != opmap["IMPORT_NAME"]:
        return "__import__" in frame.f_code.co_names
    number, scale = code[at + 1], 8
    while at >= 2 and code[at - 2] == opmap["EXTENDED_ARG"]:
        at -= 2
        number |= code[at + 1] << scale
        scale += 8
    said = frame.f_code.co_names[number]
    return name == said or name.startswith(f"{said}.") or said.startswith(f"{name}.")


class _NotHere:
    """Who made the room has modules that a submission must not find, wherever they are installed.

    It is asked for all modules, also by `importlib.import_module`, which raises no event.
    """

    def __init__(self, witness: _Witness) -> None:
        self.witness = witness

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        self.witness.module(name)
        if name.partition(".")[0] == "pgolf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "sitecustomize":
    finders = [one for one in sys.meta_path if not getattr(one, "__module__", "").startswith("__editable___pgolf")]
    witness = _Witness(os.path.join(os.path.dirname(os.path.abspath(__file__)), "seen"))
    sys.meta_path[:] = [_NotHere(witness), *finders]
    sys.addaudithook(witness.hook)
