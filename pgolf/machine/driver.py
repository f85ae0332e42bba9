"""What the NVIDIA driver says of this machine's GPUs, without CUDA, torch or `nvidia-smi`.

Asked is NVML, the library beside the driver (`libnvidia-ml.so.1`, by ctypes); a container that was given no more than
compute has no such library, so then the kernel module's own listing under /proc/driver/nvidia. Both list GPUs in the
order of the PCI bus, whatever CUDA_VISIBLE_DEVICES says: that is applied by `pgolf.machine.gpus`.
Source: NVIDIA's NVML API reference, R550.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
PROC = Path("/proc/driver/nvidia/gpus")
DEVICES = Path("/dev")

_TEXT_BYTES = 96  # the longest name and UUID
_NO_PERMISSION = 4
_INSUFFICIENT_SIZE = 7
_NO_MEMORY_KNOWN = (1 << 64) - 1  # of a process in another container, whose memory the driver does not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A whole GPU. uuid: "GPU-…". What only NVML knows, and it does not tell, is None. mig: divided into instances."""

    uuid: str
    name: str
    memory_bytes: int | None = None
    capability: tuple[int, int] | None = None
    mig: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """The driver's GPUs. why_none: where there are none. problem: what the driver said where it should have some.

    silent: of each GPU that does not answer, which it is and what the driver said (it fell off its bus, or is broken).
    """

    gpus: tuple[Gpu, ...]
    why_none: str = ""
    problem: str = ""
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Use:
    """Memory of a GPU now, and the processes that compute on it: pid (of the host) and bytes, None if not told."""

    free_bytes: int
    memory_bytes: int
    processes: tuple[tuple[int, int | None], ...]


class _NvmlError(Exception):
    """code: what the library returned; 0 where it was not called."""

    def __init__(self, said: str, code: int = 0) -> None:
        super().__init__(said)
        self.code = code


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Process(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


@cache
def listing() -> Listing:
    """The GPUs of this machine, asked once per process."""
    gpus, silent = [], []
    try:
        with _nvml() as nvml:
            for index in range(nvml.count()):
                try:
                    gpus.append(nvml.gpu(nvml.handle(index)))
                except _NvmlError as error:
                    if error.code != _NO_PERMISSION:  # of another container, or another's by a cgroup
                        silent.append(f"its GPU {index} does not answer: {error}")
    except OSError:  # no such library
        return _listed_by_the_kernel()
    except _NvmlError as error:
        return Listing((), problem=f"the NVIDIA driver does not answer: {error}; `dmesg` may say why")
    if silent and not gpus:
        return Listing((), problem=f"the NVIDIA driver lists GPUs, but {'; '.join(silent)}; `dmesg` may say why")
    return Listing(tuple(gpus), why_none="" if gpus else "the NVIDIA driver lists no GPU", silent=tuple(silent))


def use_of(uuid: str) -> Use | None:
    """Memory and processes of a GPU at this moment; None where NVML cannot be asked."""
    with suppress(OSError, _NvmlError), _nvml() as nvml:
        for index in range(nvml.count()):
            with suppress(_NvmlError):  # another GPU may not answer
                handle = nvml.handle(index)
                if nvml.text("nvmlDeviceGetUUID", handle) == uuid:
                    return nvml.use(handle)
    return None


def _listed_by_the_kernel() -> Listing:
    gpus = []
    for path in sorted(PROC.glob("*/information")):
        fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        if uuid := fields.get("GPU UUID", "").strip():
            gpus.append(Gpu(uuid=uuid, name=fields.get("Model", "").strip()))
    if gpus:
        return Listing(tuple(gpus))
    files = sorted(path.name for path in DEVICES.glob("nvidia[0-9]*"))
    if files:
        return Listing(
            (),
            problem=f"there are GPUs here ({', '.join(files)} in {DEVICES}), but neither {LIBRARY} nor {PROC} tells "
            "which; start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    return Listing((), why_none=f"there is no NVIDIA driver here ({LIBRARY} is not installed)")


@contextmanager
def _nvml() -> Iterator["_Nvml"]:
    """NVML between nvmlInit and nvmlShutdown. Raises OSError without the library, _NvmlError if it has no driver."""
    nvml = _Nvml(ctypes.CDLL(LIBRARY))
    nvml.call("nvmlInit_v2")
    try:
        yield nvml
    finally:
        nvml.call("nvmlShutdown")


class _Nvml:
    """The few calls of the library that we make."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.nvmlErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: Any, accepted: tuple[int, ...] = (0,)) -> int:
        function = getattr(self._library, name, None)
        if function is None:
            raise _NvmlError(f"{LIBRARY} has no {name}, so it is older than the drivers that torch needs")
        code = int(function(*arguments))
        if code not in accepted:
            said = (self._library.nvmlErrorString(code) or b"").decode(errors="replace")
            raise _NvmlError(f"{name} says {said!r} ({code})", code)
        return code

    def count(self) -> int:
        """GPUs of the machine, with those that do not answer or are not for this process."""
        count = ctypes.c_uint()
        self.call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        return count.value

    def handle(self, index: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def gpu(self, handle: ctypes.c_void_p) -> Gpu:
        major, minor, now, later = ctypes.c_int(), ctypes.c_int(), ctypes.c_uint(), ctypes.c_uint()
        self.call("nvmlDeviceGetCudaComputeCapability", handle, ctypes.byref(major), ctypes.byref(minor))
        try:
            self.call("nvmlDeviceGetMigMode", handle, ctypes.byref(now), ctypes.byref(later))
        except _NvmlError:  # a GPU that cannot be divided
            now.value = 0
        try:
            memory_bytes = self._memory(handle).total
        except _NvmlError:  # it has the host's (GB10), or is divided, and only root may know
            memory_bytes = None
        return Gpu(
            uuid=self.text("nvmlDeviceGetUUID", handle),
            name=self.text("nvmlDeviceGetName", handle),
            memory_bytes=memory_bytes,
            capability=(major.value, minor.value),
            mig=now.value == 1,
        )

    def text(self, name: str, handle: ctypes.c_void_p) -> str:
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        self.call(name, handle, text, ctypes.c_uint(_TEXT_BYTES))
        return text.value.decode(errors="replace")

    def use(self, handle: ctypes.c_void_p) -> Use:
        memory = self._memory(handle)
        room = ctypes.c_uint(0)
        name = "nvmlDeviceGetComputeRunningProcesses_v3"
        while True:
            found = (_Process * room.value)()
            code = self.call(name, handle, ctypes.byref(room), found, accepted=(0, _INSUFFICIENT_SIZE))
            if code == 0:
                break
            room.value += 4  # more may begin meanwhile
        users = tuple((one.pid, None if one.used == _NO_MEMORY_KNOWN else one.used) for one in found[: room.value])
        return Use(free_bytes=memory.free, memory_bytes=memory.total, processes=users)

    def _memory(self, handle: ctypes.c_void_p) -> _Memory:
        memory = _Memory()
        self.call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        return memory
