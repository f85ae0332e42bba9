"""What the witness in a clean room has told of a program's files, modules, programs and connections."""

import os
import sys
import warnings
from collections.abc import Collection, Sized
from dataclasses import dataclass, field

from pgolf.submission.room_process import PLACES

# Whoever is in the room may write into the witness's pipe what it likes.
_MOST_TOLD, _MOST_LINE_BYTES = 100_000, 1 << 16
_SYSTEM = tuple(f"/{name}/" for name in ("usr", "lib", "lib32", "lib64", "bin", "sbin", "etc", "proc", "sys", "dev"))


@dataclass(slots=True)
class Seen:
    """Paths as the program sees them."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    imported: set[tuple[str, str]] = field(default_factory=set)
    connected: set[str] = field(default_factory=set)
    programs: set[str] = field(default_factory=set)
    rest: bytes = b""

    def take(self, chunk: bytes) -> None:
        """What came out of the pipe: whole lines now, the rest with the next chunk."""
        *lines, rest = (self.rest + chunk).split(b"\n")
        self.rest = rest[:_MOST_LINE_BYTES]
        for line in lines:
            kinds: tuple[Sized, ...] = (self.read, self.written, self.imported, self.connected, self.programs)
            if sum(map(len, kinds)) < _MOST_TOLD:
                self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        try:
            with warnings.catch_warnings(action="ignore"):  # of escapes that are none
                words = [word.decode("ascii").encode().decode("unicode_escape") for word in line.split(b"\t")]
        except UnicodeDecodeError:
            return  # not the witness's
        match words:
            case ["read", path]:
                self.read.add(path)
            case ["write", path]:
                self.written.add(path)
            case ["import", name, asked_by]:
                self.imported.add((name, asked_by))
            case ["connect", address]:
                self.connected.add(address)
            case ["run", program]:
                self.programs.add(program)

    def outside(self, work: str, shown: Collection[str], *, scratch: bool = True) -> list[str]:
        """Files that are neither the program's own, below `work`, nor the system's or the interpreter's.

        scratch: whether what it has made itself in /tmp is its own.
        """
        own = tuple(f"{work}/{place}/" for place in PLACES)
        return sorted(
            path
            for path in self.read | self.written
            if not os.path.join(path, "").startswith((*own, *_SYSTEM))  # a place itself too
            and not (scratch and self._is_scratch(path))
            and path not in shown
            and _leads_out(path)
        )

    def _is_scratch(self, path: str) -> bool:
        """Whether it is a temporary file that the program itself has made, or the folder of these."""
        return path == "/tmp" or (path.startswith("/tmp/") and path in self.written)


def _leads_out(path: str) -> bool:
    """Whether a path is no folder of this interpreter or of its distributions."""
    own = (sys.prefix, sys.base_prefix, *(entry for entry in sys.path if entry.endswith("site-packages")))
    return not path.startswith(tuple(os.path.join(folder, "") for folder in own)) and path not in own
