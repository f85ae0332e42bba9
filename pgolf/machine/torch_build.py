"""What the installed torch can do on this machine, asked in a process of its own; this one does not load it."""

import json
import subprocess
import sys
from dataclasses import dataclass

_ASK = """
import json, torch, torch.distributed as dist
found = {
    "version": torch.__version__,
    "cuda": torch.version.cuda,
    "gpus": torch.cuda.device_count(),
    "nccl": dist.is_available() and dist.is_nccl_available(),
    "flash": torch.backends.cuda.is_flash_attention_available(),
}
print(json.dumps(found))
"""
_PINNED = "install the torch that constraints.txt pins, built for this driver's CUDA (`make setup`)"


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """cuda: the version it is built for; None: for CPUs only. gpus: how many it finds. nccl, flash: whether it has
    NVIDIA's collectives and a fused attention.
    """

    version: str
    cuda: str | None
    gpus: int
    nccl: bool
    flash: bool


def torch_build() -> TorchBuild | None:
    """None if torch cannot be imported."""
    try:
        said = subprocess.run(
            [sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=120, check=True
        ).stdout
        return TorchBuild(**json.loads(said.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, IndexError):
        return None


@dataclass(frozen=True, slots=True)
class BuildLack:
    """name: what is lacking, in a word."""

    name: str
    said: str
    remedy: str


def build_lacks(build: TorchBuild | None, driver_gpus: int) -> list[BuildLack]:
    """What stands between the GPUs that the driver shows this process and a training, each with what to do."""
    if build is None:
        return [BuildLack("gpus", "torch cannot be imported", _PINNED)]
    torch = f"torch {build.version}"
    found = []
    if build.cuda is None:
        return [BuildLack("gpus", f"{torch} is built for CPUs, the driver lists {driver_gpus} GPUs", _PINNED)]
    if build.gpus != driver_gpus:
        found.append(BuildLack("gpus", f"the driver shows {driver_gpus} GPUs, {torch} finds {build.gpus}", _PINNED))
    if not build.nccl:
        said = f"{torch} has no NCCL, by which ranks on GPUs talk"
        found.append(BuildLack("nccl", said, _PINNED))
    if not build.flash:
        said = f"{torch} has no flash attention: a step would take several times as long, and more memory"
        found.append(BuildLack("flash attention", said, _PINNED))
    return found
