"""Which devices the ranks of a stage may take, by the names that leases go by."""

import os
from typing import Literal

import torch

from pgolf.errors import ConfigError
from pgolf.run import RunOptions


def devices_for(run: RunOptions) -> tuple[Literal["cpu", "cuda"], tuple[str, ...]]:
    """The kind of device and the devices' names: GPUs by their UUID, a CPU by its cores.

    Raises ConfigError where CUDA is asked for and absent, or more ranks than GPUs.
    """
    available = torch.cuda.is_available()
    if run.device == "cuda" and not available:
        raise ConfigError(
            f"device cuda asked for, but torch {torch.__version__} sees none here; use device auto or cpu"
        )
    if run.device == "cpu" or not available:
        return "cpu", tuple(f"cpu-{i}" for i in range(len(os.sched_getaffinity(0))))
    gpus = tuple(f"gpu-{torch.cuda.get_device_properties(i).uuid}" for i in range(torch.cuda.device_count()))
    if run.processes > len(gpus):
        raise ConfigError(f"{run.processes} ranks asked for, torch sees {len(gpus)} GPUs; a rank needs its own")
    return "cuda", gpus
