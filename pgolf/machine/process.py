"""A unique process identity (safe against pid reuse), and whether that process is dead."""

import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from pgolf.machine.hardware import host_name


@dataclass(frozen=True, slots=True)
class Process:
    """Host, boot id (8 hex digits), pid namespace, pid, and start time in kernel ticks since boot."""

    host: str
    boot: str
    pids: str
    pid: int
    at: str

    @classmethod
    def here(cls) -> Self:
        """This process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process with this pid in our pid namespace."""
        return cls(host_name(), _boot(), _pid_namespace(), pid, _start(pid) or "")

    @property
    def is_visible(self) -> bool:
        """Whether its pid means the same process here."""
        return self.host == host_name() and self.boot == _boot() and self.pids == _pid_namespace()

    @property
    def is_gone(self) -> bool:
        """Whether it has certainly ended; False for processes not visible from here."""
        if self.host != host_name():
            return False
        if self.boot != _boot():
            return True
        return self.pids == _pid_namespace() and _start(self.pid) != self.at


def age_s() -> float:
    """Seconds since this process was started."""
    ticks = int(_start(os.getpid()) or 0)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """Start time of a process; None if it is gone or a zombie."""
    try:
        # The command name in parentheses may be any bytes.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].decode().split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else fields[19]
