"""The environment variables that a stage and its ranks may see.

Whatever else is set, a stage finds it unset: what a stage does is in its config and its inputs. The list holds where
things are (programs, folders, devices, networks and their keys), how many threads a library starts, and what it logs.
Nothing that chooses arithmetic is on it.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

NAMES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "TERM", "COLUMNS", "NO_COLOR"),
        *("LANG", "LC_ALL", "LC_CTYPE", "TZ", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "CPATH", "CC", "CXX"),
        *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONWARNINGS", "PYTHONUNBUFFERED"),
        *("PYTHONFAULTHANDLER", "PYTHONIOENCODING", "PYTHONUTF8"),
        *("CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_CACHE_PATH"),
        *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"),
        *("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TRITON_HOME", "TORCH_HOME"),
        *("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"),
        *("HF_HOME", "HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE"),
        *("HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("NCCL_DEBUG", "NCCL_DEBUG_SUBSYS", "NCCL_DEBUG_FILE", "NCCL_SOCKET_IFNAME", "NCCL_SOCKET_FAMILY"),
        *("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE", "NCCL_TOPO_FILE", "NCCL_CUMEM_ENABLE", "GLOO_SOCKET_IFNAME"),
    )
)
# How a network is reached; TORCH_NCCL_: how long a rank waits for another, and what it then reports.
PREFIXES = ("NCCL_IB_", "NCCL_NET", "TORCH_NCCL_")


def may_be_seen(name: str) -> bool:
    """Whether a stage sees a variable."""
    return name in NAMES or name.startswith(PREFIXES)


def seen_by_ranks(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the ranks of a stage inherit. environment: default this process's."""
    environment = os.environ if environment is None else environment
    return {name: value for name, value in environment.items() if may_be_seen(name)}


def compiled_folders() -> tuple[str, ...]:
    """Where the user has libraries keep what they compile, each with a "/" at its end."""
    named = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
    return tuple(os.path.join(os.path.abspath(folder), "") for name in named if (folder := os.environ.get(name)))


def cuda_visibility() -> tuple[str | None, str | None]:
    """CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER of this process; None where not set."""
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_DEVICE_ORDER")


def fix_cublas_workspace() -> None:
    """Give cuBLAS the workspace with which it is deterministic; before this process first multiplies on a GPU.

    torch refuses its deterministic algorithms without this variable, and there is no other way to say it.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


def hide_where(is_stage: Callable[[], bool]) -> None:
    """From now on `os.environ` shows the variables of the list alone wherever `is_stage()` holds."""
    for environment in (os.environ, os.environb):
        environment.__class__ = type("Environment", (_Filtered,), {"_is_stage": staticmethod(is_stage)})


class _Filtered(os._Environ[Any]):
    """`os.environ` as seen from stages. Unlisted variables can be set and deleted, and then are not there."""

    _is_stage: Callable[[], bool]

    def __getitem__(self, key: Any) -> Any:
        if not may_be_seen(os.fsdecode(key)) and self._is_stage():
            raise KeyError(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[Any]:
        if not self._is_stage():
            return super().__iter__()
        return iter([name for name in super().__iter__() if may_be_seen(os.fsdecode(name))])

    def __len__(self) -> int:
        return sum(1 for _ in self) if self._is_stage() else super().__len__()

    def __repr__(self) -> str:
        return f"environ({dict(self)!r})"
