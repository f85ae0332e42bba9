"""A stand-in for the NVIDIA driver's library: a real shared library with NVML's functions, compiled for the tests.

It lists what the variable FAKE_NVML says, read at every call: an error code of nvmlInit, or GPUs apart by `;`, each
"uuid|name|bytes|free bytes|major.minor|mig|pid:bytes,…", or "!15", the error code of one that does not answer. Bytes
that are not said are not known.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

H100 = "NVIDIA H100 80GB HBM3"
BYTES = 85_520_809_984

_SOURCE = r"""
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>
using std::string;
static std::vector<string> split(const string &text, char by) {
  std::vector<string> parts; std::stringstream all(text); string part;
  while (std::getline(all, part, by)) parts.push_back(part);
  return parts;
}
static string said() { const char *text = getenv("FAKE_NVML"); return text ? text : ""; }
static std::vector<string> gpu(void *handle) {
  auto fields = split(split(said(), ';')[(size_t)handle - 1], '|'); fields.resize(7); return fields;
}
static int put(const string &text, char *out, unsigned size) {
  if (text.size() >= size) return 7;
  strcpy(out, text.c_str()); return 0;
}
struct Memory { unsigned long long total, free, used; };
struct Process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
extern "C" {
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Unknown Error"; }
int nvmlInit_v2() {
  string text = said(); bool is_code = text[0] == '!' && text.find(';') == string::npos;
  return is_code ? atoi(text.c_str() + 1) : 0;
}
int nvmlShutdown() { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = split(said(), ';').size(); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  *handle = (void *)(size_t)(index + 1); string first = gpu(*handle)[0];
  return first[0] == '!' ? atoi(first.c_str() + 1) : 0;
}
int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) { return put(gpu(handle)[0], out, size); }
int nvmlDeviceGetName(void *handle, char *out, unsigned size) { return put(gpu(handle)[1], out, size); }
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
  memory->total = strtoull(gpu(handle)[2].c_str(), 0, 10); memory->free = strtoull(gpu(handle)[3].c_str(), 0, 10);
  memory->used = memory->total - memory->free; return gpu(handle)[2].empty() ? 3 : 0;
}
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
  sscanf(gpu(handle)[4].c_str(), "%d.%d", major, minor); return 0;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *later) {
  *now = *later = atoi(gpu(handle)[5].c_str()); return gpu(handle)[5].empty() ? 3 : 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *room, Process *found) {
  auto users = split(gpu(handle)[6], ','); unsigned had = *room; *room = users.size();
  if (had < users.size()) return 7;
  for (size_t i = 0; i < users.size(); i++) {
    found[i] = {}; sscanf(users[i].c_str(), "%u:%llu", &found[i].pid, &found[i].used);
  }
  return 0;
}
}
"""


@cache
def library() -> Path:
    """The compiled library, named as the driver's is."""
    folder = Path(tempfile.mkdtemp(prefix="pgolf-fake-driver-"))
    (folder / "nvml.cpp").write_text(_SOURCE)
    built = folder / "libnvidia-ml.so.1"
    subprocess.run(["g++", "-O0", "-shared", "-fPIC", "-o", str(built), str(folder / "nvml.cpp")], check=True)
    return built


def gpu(
    number: int,
    *,
    name: str = H100,
    memory_bytes: int | None = BYTES,
    free_bytes: int | None = None,
    capability: str = "9.0",
    mig: str = "0",
    users: str = "",
) -> str:
    """One GPU, as the library reads it; its UUID begins with GPU-<number>."""
    free_bytes = memory_bytes if free_bytes is None else free_bytes
    known = "|".join("" if of is None else str(of) for of in (memory_bytes, free_bytes))
    return f"GPU-{number}aaa-{number}|{name}|{known}|{capability}|{mig}|{users}"


class Machine:
    """Makes the driver of this process list GPUs: a number of H100, or each as `gpu` writes it, or "!9", an error."""

    def __init__(self, monkeypatch) -> None:
        from pgolf.machine import driver, gpus

        self._patch, self._driver = monkeypatch, driver
        monkeypatch.setattr(driver, "LIBRARY", str(library()))
        monkeypatch.setattr(gpus, "ENDING_S", 0.0)  # nobody ends here
        for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
            monkeypatch.delenv(name, raising=False)

    def __call__(self, gpus: int | str | Sequence[str], visible: str | None = None, order: str | None = None) -> None:
        """visible, order: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER."""
        if isinstance(gpus, int):
            gpus = [gpu(number) for number in range(gpus)]
        self._patch.setenv("FAKE_NVML", gpus if isinstance(gpus, str) else ";".join(gpus))
        for name, value in {"CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": order}.items():
            if value is None:
                self._patch.delenv(name, raising=False)
            else:
                self._patch.setenv(name, value)
        self._driver.listing.cache_clear()

    def forget(self) -> None:
        """For the end: what this process asks next is asked again."""
        self._driver.listing.cache_clear()
