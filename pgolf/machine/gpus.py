"""The GPUs that this process may use: the driver's, as CUDA_VISIBLE_DEVICES leaves them. The one source for all.

Plans, leases and ranks ask here, none of them nvidia-smi or torch; a rank compares with torch and refuses a difference.
Source: CUDA C++ Programming Guide, "CUDA Environment Variables".
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pgolf.errors import MachineError
from pgolf.identity.environment import cuda_visibility
from pgolf.machine.driver import Gpu, Use, listing, use_of

# Scoring alone holds activations of 8 GiB by design (`pgolf.eval.forward`), beside logits, weights and CUDA itself.
LEAST_MEMORY_BYTES = 12_000_000_000
# What an idle GPU keeps for itself, and the CUDA contexts of processes of ours that wait for a lease, is below 10 %.
IDLE_SHARE = 0.9
# Within this the driver has given back the memory of processes that were killed, and of which nobody is told the end.
ENDING_S = 10.0
_LOOK_EVERY_S = 0.25
LEAST_CAPABILITY = (8, 0)
_HIDES_ALL = ("", "-1", "NoDevFiles")  # the last is what Slurm writes
_UUID = "GPU-"
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleGpus:
    """gpus: in CUDA's order. counted: how many there are, and by whose word. problem: why they cannot be used as they
    are, and what to do; empty where nothing is against. A machine without GPUs, or whose GPUs are hidden on purpose, is
    no problem.
    """

    gpus: tuple[Gpu, ...]
    counted: str
    problem: str = ""


def visible_gpus() -> VisibleGpus:
    """The GPUs that CUDA would show this process."""
    found = listing()
    if found.problem:
        return VisibleGpus(gpus=(), counted="the NVIDIA driver does not answer", problem=found.problem)
    if not found.gpus:
        return VisibleGpus(gpus=(), counted=found.why_none)
    setting, order = cuda_visibility()
    seen = visible_of(found.gpus, setting, order)
    by_uuid = setting is not None and setting.startswith(_UUID)
    if not found.silent or by_uuid or _hides_all(setting):
        return seen
    # CUDA leaves a GPU out that fell off its bus, or starts on none at all; so nobody knows what a number means.
    problem = (
        f"the driver says that {'; '.join(found.silent)}; reset it (`nvidia-smi --gpu-reset`, or a reboot), or name "
        f"others by UUID: CUDA_VISIBLE_DEVICES={','.join(gpu.uuid for gpu in found.gpus)}"
    )
    return replace(seen, problem=problem)


def visible_of(gpus: Sequence[Gpu], setting: str | None, order: str | None) -> VisibleGpus:
    """What CUDA shows of a machine's GPUs, which are in the order of the PCI bus.

    setting, order: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER, None if not set. As CUDA does it: an index is what a
    number begins with, a UUID may be cut short, all are ignored from the first that names nothing, and one that is
    named twice leaves none.
    """
    listed = f"the driver lists {len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
    if setting is None:
        return VisibleGpus(gpus=tuple(gpus), counted=listed, problem=_unfit(gpus))
    said = f"CUDA_VISIBLE_DEVICES={setting}"
    if _hides_all(setting):
        return VisibleGpus(gpus=(), counted=f"{listed}, {said} hides them all")
    shown, problem = _named(gpus, setting)
    kinds = {gpu.name for gpu in gpus}
    if not problem and len(kinds) > 1 and order != "PCI_BUS_ID" and not setting.startswith(_UUID):
        problem = (
            f"the GPUs are of {len(kinds)} kinds ({', '.join(sorted(kinds))}), and CUDA numbers them by their speed "
            "unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set; set it, or name them by UUID"
        )
    if problem:
        problem = f"{said}: {problem}"
    return VisibleGpus(
        gpus=shown, counted=f"{listed}, {said} shows {len(shown)} of them", problem=problem or _unfit(shown)
    )


def _hides_all(setting: str | None) -> bool:
    return setting is not None and setting.strip() in _HIDES_ALL


def _named(gpus: Sequence[Gpu], setting: str) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that a setting names before CUDA stops reading it, and why it does."""
    if setting.startswith("MIG-"):
        return (), "pgolf computes on whole GPUs, of MIG instances CUDA shows a process one; name GPUs instead"
    by_uuid = setting.startswith(_UUID)
    shown: list[Gpu] = []
    for entry in setting.split(","):
        fitting = [gpu for gpu in gpus if gpu.uuid.startswith(entry)] if by_uuid else _at(gpus, entry)
        if len(fitting) != 1 or (by_uuid and not entry.startswith(_UUID)):
            there = ", ".join(gpu.uuid for gpu in gpus[:_SHOWN]) if by_uuid else _indices(len(gpus))
            what = "more than one GPU" if len(fitting) > 1 else "no GPU of this machine"
            return tuple(shown), (
                f"{entry!r} names {what}, and CUDA reads no further, which leaves {len(shown)}; name some of {there}, "
                "or unset it"
            )
        if fitting[0] in shown:
            return (), f"{entry!r} names a GPU for the second time, and CUDA then shows none; name each once"
        shown += fitting
    return tuple(shown), ""


def _at(gpus: Sequence[Gpu], entry: str) -> Sequence[Gpu]:
    """The GPU whose index an entry begins with, as C's strtoul reads it."""
    text = entry.strip().removeprefix("+")
    digits = text[: len(text) - len(text.lstrip("0123456789"))]
    return gpus[int(digits) :][:1] if digits else ()


def _indices(count: int) -> str:
    return "0" if count == 1 else f"0 to {count - 1}"


def _unfit(gpus: Sequence[Gpu]) -> str:
    """What is wrong with the first GPU that cannot be used, and what to do."""
    for gpu in gpus:
        who = f"{gpu.name} ({gpu.uuid})"
        if gpu.mig:
            return f"{who} is divided into MIG instances; undo it (`nvidia-smi -mig 0`) or hide it"
        if gpu.capability is not None and gpu.capability < LEAST_CAPABILITY:
            return (
                f"{who} has compute capability {'.'.join(map(str, gpu.capability))}; attention in bfloat16 needs 8.0 "
                "(A100) or later; hide it (CUDA_VISIBLE_DEVICES) or use another machine"
            )
        if gpu.memory_bytes is not None and gpu.memory_bytes < LEAST_MEMORY_BYTES:
            return (
                f"{who} has {gpu.memory_bytes / 1e9:.1f} GB of memory, at least {LEAST_MEMORY_BYTES / 1e9:.0f} are "
                "needed; hide it (CUDA_VISIBLE_DEVICES) or use another machine"
            )
    return ""


def may_be_tried(uuids: Sequence[str]) -> bool:
    """Whether nobody is seen at work on any of these GPUs, who might be timed: by a process, or by memory alone where
    the driver does not tell those of other containers.
    """
    uses = [use for uuid in uuids if (use := use_of(uuid)) is not None]
    return not any(use.processes or use.free_bytes < IDLE_SHARE * use.memory_bytes for use in uses)


def refuse_busy(uuids: Sequence[str]) -> None:
    """Raise MachineError for a GPU that lacks memory because somebody else holds it, for longer than ENDING_S.

    Asked once a lease is held, so no other stage of ours is at work there; but one that was killed may not be gone yet.
    """
    until_s = time.monotonic() + ENDING_S
    for uuid in uuids:
        while (use := _too_full(uuid)) is not None and time.monotonic() < until_s:
            time.sleep(_LOOK_EVERY_S)
        if use is None:
            continue
        others = [(pid, size) for pid, size in use.processes if pid != os.getpid()]
        users = ", ".join(f"process {pid}" + (f" ({size / 1e9:.1f} GB)" if size else "") for pid, size in others)
        raise MachineError(
            f"{uuid} has {use.free_bytes / 1e9:.1f} of {use.memory_bytes / 1e9:.1f} GB free; "
            f"{users or 'a process that the driver does not name'} holds the rest; wait for it, end it if it is left "
            "over (`nvidia-smi`, `ps -fp PID`), or hide this GPU (CUDA_VISIBLE_DEVICES)"
        )


def _too_full(uuid: str) -> Use | None:
    """The use of a GPU that has too little memory free; None for others, and where nobody can say."""
    use = use_of(uuid)
    enough = use is None or use.free_bytes >= max(LEAST_MEMORY_BYTES, IDLE_SHARE * use.memory_bytes)
    return None if enough else use
