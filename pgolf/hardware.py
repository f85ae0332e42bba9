"""What this machine is, without loading torch."""

import platform
import shutil
import socket
import subprocess
from functools import cache
from pathlib import Path


def host_name() -> str:
    """The machine's own name."""
    return socket.gethostname()


@cache
def gpu_names() -> tuple[str, ...]:
    """Product names of the NVIDIA GPUs the driver lists, in index order; empty where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        listed = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in listed.splitlines() if line.strip())


def gpu_name() -> str | None:
    """The first GPU's product name, or None."""
    names = gpu_names()
    return names[0] if names else None


@cache
def cpu_name() -> str:
    """The processor's product name as the kernel gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
