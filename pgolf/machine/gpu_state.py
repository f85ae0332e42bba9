"""What the driver says of each GPU before anything is started: its memory, and who uses it. Loads no torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pgolf.machine.driver import use_of
from pgolf.machine.gpus import visible_gpus


@dataclass(frozen=True, slots=True)
class GpuState:
    """users: process numbers with what they hold, as the driver writes it."""

    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    users: tuple[str, ...] = ()


def gpu_states() -> tuple[GpuState, ...]:
    """The GPUs that this process may use, in CUDA's order; without those of which the driver does not say it."""
    found = []
    for gpu in visible_gpus().gpus:
        if (use := use_of(gpu.uuid)) is not None:
            users = tuple(
                f"{pid} ({size_bytes >> 20:,} MiB)" if size_bytes else str(pid)
                for pid, size_bytes in use.processes
                if pid != os.getpid()
            )
            found.append(GpuState(gpu.uuid, gpu.name, use.memory_bytes, use.free_bytes, users))
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
