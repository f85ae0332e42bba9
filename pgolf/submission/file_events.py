"""Which files were opened or changed, told by the kernel (inotify), whatever program did it. Linux only."""

import ctypes
import os
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Self

_MODIFY, _ATTRIB, _OPEN, _DELETE_SELF, _MOVE_SELF = 0x2, 0x4, 0x20, 0x400, 0x800
_CHANGED = _MODIFY | _ATTRIB | _DELETE_SELF | _MOVE_SELF
_OVERFLOW = 0x4000
_HEAD = struct.Struct("iIII")


class FileEvents:
    """Watches files from now until it is closed. descriptor: readable when there is something to `take`."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """files: path -> name. Raises OSError where the kernel watches no more files."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1 failed")
        self._names: dict[int, str] = {}
        self.opened: set[str] = set()
        self.changed: set[str] = set()
        self.lost = False
        for path, name in files.items():
            watch = self._libc.inotify_add_watch(self.descriptor, os.fsencode(path), _OPEN | _CHANGED)
            if watch < 0:
                number = ctypes.get_errno()
                os.close(self.descriptor)
                raise OSError(number, f"inotify: {os.strerror(number)}")
            self._names[watch] = name

    def take(self) -> None:
        """Note what has happened since."""
        while True:
            try:
                read = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return
            at = 0
            while at < len(read):
                watch, mask, _cookie, length = _HEAD.unpack_from(read, at)
                at += _HEAD.size + length
                self.lost |= bool(mask & _OVERFLOW)
                name = self._names.get(watch)
                if name is not None and mask & _OPEN:
                    self.opened.add(name)
                if name is not None and mask & _CHANGED:
                    self.changed.add(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self.descriptor)
