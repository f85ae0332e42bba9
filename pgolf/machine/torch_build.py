"""What the installed torch can do on this machine, asked in a process of its own; this one does not load it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pgolf.machine.cuda_errors import remedy_for

_ASK = """
import json, os, sys
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no processes that could outlive this one
import torch, torch.distributed as dist
found = {
    "version": torch.__version__,
    "cuda": torch.version.cuda,
    "gpus": torch.cuda.device_count(),
    "nccl": dist.is_available() and dist.is_nccl_available(),
    "flash": torch.backends.cuda.is_flash_attention_available(),
}
print(json.dumps(found), flush=True)
tries = sys.argv[1]
if tries == "nothing":
    sys.exit()

def attempt(what, work):
    print(json.dumps([what, None]), flush=True)  # the last one if it never comes back
    try:
        work()
        said = ""
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        more = lines[1:2] if lines[0].endswith(":") else []  # who raised it, and on the next line what
        said = " ".join([f"{type(error).__name__}:", lines[0], *more])
    print(json.dumps([what, said]), flush=True)
    return not said

def compute(index):
    assert torch.ones(2, device=f"cuda:{index}").sum().item() == 2

def compile():
    torch.compile(lambda x: (x + 1).sum())(torch.ones(2, device="cuda:0")).item()

fine = [attempt(f"GPU {index}", lambda: compute(index)) for index in range(found["gpus"])]
if tries == "compiler" and fine and all(fine):
    attempt("torch.compile", compile)
"""
_LIMIT_S = 120.0
_PINNED = "install the torch that constraints.txt pins, built for this driver's CUDA (`make setup`)"
_COMPILER = (
    "install what it names: triton comes with torch, a C compiler (gcc) and Python's headers (python3-dev) with the "
    "system, TORCHINDUCTOR_CACHE_DIR or TMPDIR name a folder that it may write and run from; or train uncompiled "
    "(--set train.compile=false), which is slower"
)


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """cuda: the version it is built for; None: for CPUs only. gpus: how many it finds. nccl, flash: whether it has
    NVIDIA's collectives and a fused attention. fails, compiler_fails: what it says where it cannot compute on one of
    them, or compile for it; empty where it can, or was not tried.
    """

    version: str
    cuda: str | None
    gpus: int
    nccl: bool
    flash: bool
    fails: str = ""
    compiler_fails: str = ""


def torch_build(*, tries: Literal["nothing", "gpus", "compiler"] = "nothing") -> TorchBuild | None:
    """None if torch cannot be imported.

    tries: "gpus": also compute a number on every GPU; "compiler": then also compile a function for one, which takes
    seconds. To count GPUs takes the driver alone, and shows neither that it is too old for this torch, nor GPUs that
    are broken or not yet initialized, nor a compiler that lacks its own parts.
    """
    command = [sys.executable, "-c", _ASK, tries]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=True).stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
    except subprocess.CalledProcessError as error:
        said = error.stdout  # it may have died in what it tried
    except OSError:
        return None
    try:
        facts, *attempts = (json.loads(line) for line in said.splitlines() if line[:1] in "{[")
        build = TorchBuild(**facts)
    except (ValueError, TypeError):
        return None
    failed = _failed(dict(attempts))
    of_compiler = failed.pop("torch.compile", "")
    return replace(build, fails="; ".join(failed.values()), compiler_fails=of_compiler)


def _failed(attempts: Mapping[str, str | None]) -> dict[str, str]:
    """attempts: by what was tried, what it said; None if it did not come back. Returns those that failed, in words."""
    none = f"no answer within {_LIMIT_S:.0f} s, or its process died"
    return {what: f"{what}: {none if said is None else said}" for what, said in attempts.items() if said != ""}


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
    elif build.fails:
        said = f"{torch}, built for CUDA {build.cuda}, cannot compute: {build.fails}"
        found.append(BuildLack("gpus", said, remedy_for(build.fails)))
    if not build.nccl:
        said = f"{torch} has no NCCL, by which ranks on GPUs talk"
        found.append(BuildLack("nccl", said, _PINNED))
    if not build.flash:
        said = f"{torch} has no flash attention: a step would take several times as long, and more memory"
        found.append(BuildLack("flash attention", said, _PINNED))
    if build.compiler_fails:
        said = f"{torch} cannot compile for these GPUs: {build.compiler_fails}"
        found.append(BuildLack("compiler", said, _COMPILER))
    return found
