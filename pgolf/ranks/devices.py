"""The devices that the ranks of a stage may use, by their lease names."""

import os
from typing import Literal

import torch
import torch.distributed as dist

from pgolf.errors import ConfigError
from pgolf.run import RunOptions


def devices_for(run: RunOptions) -> tuple[Literal["cpu", "cuda"], tuple[str, ...]]:
    """Device type and device names: GPUs by UUID, a CPU by those of its cores that this process may run on.

    Raises ConfigError if CUDA is requested but absent, or if there are more ranks than GPUs.
    """
    available = torch.cuda.is_available()
    if run.device == "cuda" and not available:
        raise ConfigError(
            f"device cuda requested, but torch {torch.__version__} finds none here; use device auto or cpu"
        )
    if run.device == "cpu" or not available:
        return "cpu", tuple(f"cpu-{i}" for i in sorted(os.sched_getaffinity(0)))
    if not dist.is_nccl_available():
        raise ConfigError(
            f"torch {torch.__version__} has no NCCL, by which ranks on GPUs talk; install the torch that "
            "constraints.txt pins (`make setup`)"
        )
    if not torch.backends.cuda.is_flash_attention_available():
        raise ConfigError(
            f"torch {torch.__version__} has no flash attention: a step would take several times as long, and more "
            "memory; install the torch that constraints.txt pins (`make setup`)"
        )
    gpus = tuple(f"gpu-{torch.cuda.get_device_properties(i).uuid}" for i in range(torch.cuda.device_count()))
    if run.processes > len(gpus):
        raise ConfigError(
            f"{run.processes} ranks requested, but torch finds {len(gpus)} GPUs and each rank needs its own; use at "
            f"most {len(gpus)} ranks"
        )
    return "cuda", gpus
