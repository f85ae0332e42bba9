"""What of this system a clean room shows: the interpreter, its distributions and the system's libraries."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgolf.identity.snapshot import CODE, PACKAGES

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/sys", "/nix", "/gnu")
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "OpenCL")


@dataclass(frozen=True, slots=True)
class SystemFiles:
    """shown: files and folders, at their own paths. links: path -> where it leads. hidden: folders that stand empty.

    distributions: folders that the interpreter does not look in by itself.
    """

    shown: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...]
    distributions: tuple[str, ...]


def system_files(environment: Mapping[str, str]) -> SystemFiles:
    """Of this interpreter. environment: says where else there are libraries (LD_LIBRARY_PATH, CUDA_HOME)."""
    own = [os.path.realpath(sys.base_prefix), os.path.abspath(sys.base_prefix), os.path.abspath(sys.prefix)]
    own.append(os.path.dirname(os.path.realpath(sys.executable)))
    places = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    elsewhere = [place for place in places if not _is_below(place, own)]
    libraries = environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    libraries += [environment.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    wanted = [*_SYSTEM, *(f"/etc/{name}" for name in _ETC), *own, *elsewhere, *libraries]
    shown: list[str] = []
    links: dict[str, str] = {}
    # The outer ones first: what they show need not be shown again.
    for path in sorted(path for path in dict.fromkeys(wanted) if os.path.isabs(path) and path != "/"):
        if _is_below(path, shown) or not os.path.exists(path):
            continue
        if os.path.islink(path):
            links[path] = os.readlink(path)
            path = os.path.realpath(path)
            if _is_below(path, shown):
                continue
        shown.append(path)
    ours = [os.path.join(CODE.root, package) for package in PACKAGES]
    hidden = [folder for folder in ours if _is_below(folder, shown) and os.path.isdir(folder)]
    return SystemFiles(tuple(shown), tuple(links.items()), tuple(hidden), tuple(elsewhere))


def _is_below(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(os.path.join(folder, "")) for folder in folders)


def inherited(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Of the variables that stages may see those that a program in a clean room gets too: where devices are."""
    for name, value in environment.items():
        if name.startswith(("CUDA_", "NVIDIA_", "NCCL_")) or name in ("LD_LIBRARY_PATH", "TERM", "TZ"):
            yield name, value


def room_environment(work: str, system: SystemFiles, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a program in a clean room, whose folders it sees as `work`/…; environment: as stages see it."""
    return {
        **dict(inherited(environment)),
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": f"{work}/home",
        "TMPDIR": f"{work}/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([f"{work}/witness", *system.distributions]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
    }
