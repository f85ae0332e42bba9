"""The devices of a stage's ranks: which there are, by their lease names, and the one that each rank takes.

Which GPUs there are is `pgolf.machine.gpus`'s to say; torch, which computes on them, has to see the same ones.
"""

import os
import time
from typing import Literal

import torch
import torch.distributed as dist

from pgolf.errors import ConfigError, MachineError
from pgolf.machine.cuda_errors import remedy_for
from pgolf.machine.gpus import VisibleGpus, refuse_busy, visible_gpus
from pgolf.run_options import RunOptions

_LEASED = "gpu-"
_UUID = "GPU-"


def devices_for(run: RunOptions) -> tuple[Literal["cpu", "cuda"], tuple[str, ...]]:
    """Device type and device names: GPUs by UUID, a CPU by those of its cores that this process may run on.

    Raises ConfigError if CUDA is requested but absent, if there are more ranks than GPUs, and if the GPUs that are here
    cannot be used as they are.
    """
    seen = None if run.device == "cpu" else usable_gpus()
    if seen is None or (not seen.gpus and run.device == "auto"):
        return "cpu", tuple(f"cpu-{i}" for i in sorted(os.sched_getaffinity(0)))
    if not seen.gpus:
        raise ConfigError(f"device cuda requested, but {seen.counted}; use --device auto or cpu")
    if run.processes > len(seen.gpus):
        raise ConfigError(
            f"{run.processes} ranks requested, but {seen.counted}, and each rank needs its own; use "
            f"--processes {len(seen.gpus)} at most"
        )
    return "cuda", tuple(gpu.uuid.replace(_UUID, _LEASED, 1) for gpu in seen.gpus)


def uuid_of(lease_name: str) -> str:
    """The UUID of a leased GPU, as CUDA_VISIBLE_DEVICES takes it."""
    return lease_name.replace(_LEASED, _UUID, 1)


def usable_gpus() -> VisibleGpus:
    """The GPUs that this process may use, if any. Raises ConfigError if they are unfit, or torch is."""
    seen = visible_gpus()
    if seen.problem:
        raise ConfigError(f"{seen.problem}; or use --device cpu")
    torch_sees = torch.cuda.device_count()
    if torch_sees != len(seen.gpus):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise ConfigError(
            f"{seen.counted}, but torch {torch.__version__}, {built}, sees {torch_sees}; install a torch build for "
            "this driver's CUDA (`make setup`; `pgolf doctor` compares them), or use --device cpu"
        )
    if seen.gpus:
        for there, name in (
            (torch.backends.cuda.is_flash_attention_available(), "flash attention"),
            (dist.is_nccl_available(), "NCCL"),
        ):
            if not there:
                raise ConfigError(
                    f"torch {torch.__version__} is built without {name}, which every run on a GPU needs; install the "
                    "official build (`make setup`), or use --device cpu"
                )
    return seen


def take_device(device_type: Literal["cpu", "cuda"], rank: int, world_size: int) -> torch.device:
    """The device of a rank of this machine's group, made the current one.

    Raises ConfigError if there are fewer GPUs than ranks, or if torch sees others than the driver, and MachineError if
    somebody else is at work on this rank's, or CUDA refuses it.
    """
    if device_type == "cpu":
        return torch.device("cpu")
    seen = usable_gpus()
    if world_size > len(seen.gpus):
        raise ConfigError(
            f"{world_size} ranks, but {seen.counted}, and each rank needs its own; start at most {len(seen.gpus)} "
            "(torchrun --nproc-per-node)"
        )
    gpu = seen.gpus[rank]
    refuse_busy([gpu.uuid])
    device = torch.device("cuda", rank)
    try:
        torch.cuda.set_device(device)
        torch_has = _uuid_in_torch(rank)
    except RuntimeError as error:  # the driver lists it all the same
        said = str(error).partition("\n")[0]
        raise MachineError(f"GPU {rank} ({gpu.uuid}) cannot be used: {said}; {remedy_for(said)}") from error
    if torch_has != gpu.uuid:
        raise ConfigError(
            f"GPU {rank} is {gpu.uuid} by the driver and {torch_has} by torch; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        )
    return device


def torch_index(lease_name: str) -> int:
    """The number by which torch knows a leased GPU, of several kinds in another order than the driver's."""
    return [_uuid_in_torch(index) for index in range(torch.cuda.device_count())].index(uuid_of(lease_name))


def _uuid_in_torch(index: int) -> str:
    return f"{_UUID}{torch.cuda.get_device_properties(index).uuid}"


def seconds_when_done(device: torch.device) -> float:
    """`time.perf_counter()` once the device has finished all that was launched on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
