"""Every change of a folder that Python makes, seen before and after it is made, and failed at will.

Calls but `fsync` go to the real functions; what C code writes by itself (SQLite, Arrow) is not seen.
"""

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

Hook = Callable[[str, str], None]
# Of the functions of os: which of their arguments are paths.
_OF_TWO_PATHS = ("replace", "rename", "link")
_OF_ONE_PATH = ("mkdir", "rmdir", "unlink", "remove")
_WRITING = frozenset("wax+")
_NAMELESS = ("write", "fsync")  # calls on descriptors: their errors name no file


def ignore(_kind: str, _path: str) -> None:
    """No hook."""


def failing(number: int, code: int, *, and_on: bool = False, reads: bool = False) -> Hook:
    """A hook that fails the change, or reads: the read, of this number, or all from it on, with an errno."""
    left = [number]

    def fail(kind: str, path: str) -> None:
        if (kind == "read") != reads:
            return
        left[0] -= 1
        if left[0] == -1 or (left[0] < 0 and and_on):
            raise OSError(code, os.strerror(code), *([] if kind in _NAMELESS else [path]))

    return fail


@contextmanager
def watched(folder: Path, before: Hook, after: Hook = ignore) -> Iterator[None]:
    """Call the hooks with kind (of the function) and path of each change below the folder; `before` may raise.

    `before` is told of each file that is opened to read, too.
    """
    root = os.path.join(os.path.realpath(folder), "")
    seeing = [True]

    def see(hook: Hook, kind: str, path: str) -> None:
        if not seeing[0] or not os.path.join(path, "").startswith(root):
            return
        seeing[0] = False  # what a hook does itself is no change
        try:
            hook(kind, path)
        finally:
            seeing[0] = True

    def on_path(kind: str, real: Callable[..., Any], which: int) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            folder_fd = named.get("dir_fd")
            path = (
                os.path.join(_path_of(folder_fd), os.fsdecode(given[which])) if folder_fd is not None else given[which]
            )
            path = os.path.abspath(os.fsdecode(path))
            see(before, kind, path)
            found = real(*given, **named)
            see(after, kind, path)
            return found

        return call

    def fsync(descriptor: int) -> None:
        see(before, "fsync", _path_of(descriptor))
        if not _path_of(descriptor).startswith(root[:-1]):
            real_fsync(descriptor)  # below the folder nobody cuts the power but who asks what would be left
        see(after, "fsync", _path_of(descriptor))

    class File(io.FileIO):
        def write(self, content: Any) -> int:
            path = _path_of(self.fileno())
            try:
                see(before, "write", path)
            except OSError:
                super().write(bytes(content)[: len(content) // 2])  # as a full disk does
                raise
            written = super().write(content)
            see(after, "write", path)
            return written

    def open_file(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
        path = "" if isinstance(file, int) else os.path.abspath(os.fsdecode(file))
        if not _WRITING & set(mode) and os.path.isfile(path):
            see(before, "read", path)
        if not _WRITING & set(mode) or not path.startswith(root):
            return real_open(file, mode, buffering, *rest, **named)
        see(before, "open", path)
        raw = File(path, mode.replace("b", "").replace("t", ""))
        see(after, "open", path)
        if buffering == 0:
            return raw
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return binary if "b" in mode else io.TextIOWrapper(binary, *rest, **named)

    def open_descriptor(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        name = os.path.abspath(os.fsdecode(path))
        new = bool(flags & os.O_CREAT) and not os.path.lexists(name)
        if not new and os.path.isfile(name):
            see(before, "read", name)
        if new:
            see(before, "open", name)
        descriptor: int = real_os_open(path, flags, *rest, **named)
        if new:
            see(after, "open", name)
        return descriptor

    real_open, real_fsync, real_os_open = io.open, os.fsync, os.open
    with ExitStack() as patches:
        for name in _OF_TWO_PATHS:
            patches.enter_context(patch.object(os, name, on_path(name, getattr(os, name), 1)))
        for name in _OF_ONE_PATH:
            patches.enter_context(patch.object(os, name, on_path(name, getattr(os, name), 0)))
        patches.enter_context(patch.object(os, "fsync", fsync))
        patches.enter_context(patch.object(os, "open", open_descriptor))
        patches.enter_context(patch.object(io, "open", open_file))
        patches.enter_context(patch.object(builtins, "open", open_file))
        yield


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")
