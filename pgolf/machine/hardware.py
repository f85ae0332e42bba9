"""Hardware of this machine (host, GPUs, CPU, cores) and the default number of ranks, without loading torch."""

import os
import platform
import socket
from functools import cache
from pathlib import Path

from pgolf.errors import ConfigError
from pgolf.machine.gpus import visible_gpus
from pgolf.run_options import RunOptions


def host_name() -> str:
    """This machine's host name."""
    return socket.gethostname()


def gpu_names() -> tuple[str, ...]:
    """Product names of the GPUs that this process may use (`pgolf.machine.gpus`), in CUDA's order."""
    return tuple(gpu.name for gpu in visible_gpus().gpus)


def gpu_name() -> str | None:
    """The first GPU's product name, or None."""
    names = gpu_names()
    return names[0] if names else None


def on_gpu(run: RunOptions) -> bool:
    """Whether the network will run on CUDA here."""
    return run.device == "cuda" or (run.device == "auto" and bool(gpu_names()))


def ranks_for(run: RunOptions, spans: int) -> int:
    """Number of training ranks for steps of `spans` spans: as requested, else the most GPUs that divide them evenly.

    One rank on a CPU.
    """
    if run.processes:
        return run.processes
    gpus = len(gpu_names()) if on_gpu(run) else 1
    return max((ranks for ranks in range(1, gpus + 1) if spans % ranks == 0), default=1)


def scoring_ranks(run: RunOptions, *, on_gpus: bool) -> int:
    """Number of scoring ranks: as requested, else one per GPU; one on a CPU."""
    return run.processes or (max(1, len(gpu_names())) if on_gpus else 1)


def refuse_uneven(ranks: int, spans: int) -> None:
    """Raise ConfigError unless `spans` is a multiple of `ranks`."""
    if ranks < 1 or spans % ranks:
        fitting = [n for n in range(1, spans + 1) if spans % n == 0]
        raise ConfigError(
            f"{ranks} ranks cannot share {spans} spans a step evenly; use {', '.join(map(str, fitting))} ranks or "
            "another train.spans_per_step"
        )


def core_count() -> int:
    """Number of cores this process may run on."""
    return len(os.sched_getaffinity(0))


def cores_for_ranks(ranks: int) -> tuple[int, ...]:
    """Cores that `ranks` on GPUs need for themselves, by kernel number: two each, of a small machine half or one each.

    One launches kernels forward, one backward and reads data. Evenly spread, so that there are some beside every GPU.
    """
    cores = sorted(os.sched_getaffinity(0))
    needed = min(len(cores), 2 * ranks, max(ranks, len(cores) // 2))
    return tuple(cores[place * len(cores) // needed] for place in range(needed))


@cache
def cpu_name() -> str:
    """The processor's product name as reported by the kernel."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
