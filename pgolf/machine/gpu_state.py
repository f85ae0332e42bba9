"""What the driver says of each GPU before anything is started: its memory, and who uses it. Loads no torch."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class GpuState:
    """users: process numbers with what they hold, as the driver writes it."""

    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    users: tuple[str, ...] = ()


def gpu_states() -> tuple[GpuState, ...]:
    """The GPUs in index order; empty without a driver, or where it does not say."""
    listed = _asked("--query-gpu=uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits")
    apps = _asked("--query-compute-apps=gpu_uuid,pid,used_memory", "--format=csv,noheader")
    found = []
    for fields in listed:
        if len(fields) == 4 and fields[2].isdecimal() and fields[3].isdecimal():
            users = tuple(f"{app[1]} ({app[2]})" for app in apps if len(app) == 3 and app[0] == fields[0])
            found.append(GpuState(fields[0], fields[1], int(fields[2]) * _MIB, int(fields[3]) * _MIB, users))
    return tuple(found)


def memory_lacks(states: Sequence[GpuState], needed_bytes: int, what: str) -> list[str]:
    """Why `what`, which takes so much of each GPU, does not fit; one line per reason, each with what to do."""
    needs = f"{what} takes about {needed_bytes / 2**30:.0f} GiB of a GPU"
    small = [
        f"GPU {i} ({state.name}) has {state.total_bytes / 2**30:.0f}"
        for i, state in enumerate(states)
        if state.total_bytes < needed_bytes
    ]
    if small:
        return [f"{needs}, {'; '.join(small)}; use larger GPUs, or lower train.tokens_per_step"]
    return [
        f"{needs}, GPU {i} has {state.free_bytes / 2**30:.0f} GiB free of {state.total_bytes / 2**30:.0f}"
        + (f": used by process {', '.join(state.users)}; wait for it, or end it" if state.users else "")
        + ", or leave this GPU out (CUDA_VISIBLE_DEVICES)"
        for i, state in enumerate(states)
        if state.free_bytes < needed_bytes
    ]


def _asked(*query: str) -> list[list[str]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        said = subprocess.run([program, *query], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[field.strip() for field in line.split(",")] for line in said.splitlines() if line.strip()]
