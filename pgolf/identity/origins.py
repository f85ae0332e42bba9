"""Where a module lies: in the interpreter, in an installed distribution, or in somebody's own folder.

Of the first two a key holds versions; files of the third are code like ours.
"""

import os
import site
import sys
import sysconfig
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from importlib.metadata import Distribution

_SITE_NAMES = ("site-packages", "dist-packages")


def is_own_code(spec: "ModuleSpec") -> bool:
    """Whether a module lies neither in the interpreter nor in a distribution: in a project's folder, say."""
    if spec.origin in ("built-in", "frozen"):
        return False
    if spec.origin is None:  # a folder without __init__.py
        return not any(is_installed(folder) for folder in spec.submodule_search_locations or ())
    if not is_installed(spec.origin):
        return True
    in_site = _below(spec.origin, _site_folders())
    return in_site and distribution_of(spec.name.partition(".")[0]) is None


def is_installed(path: str) -> bool:
    """Whether a file belongs to the interpreter, or lies where distributions are installed."""
    return is_of_interpreter(path) or _below(path, _site_folders())


def is_of_interpreter(path: str) -> bool:
    """Whether a file is the standard library's (or Python frozen into the interpreter)."""
    return path.startswith("<frozen ") or (_below(path, _library_folders()) and not _below(path, _site_folders()))


def top_in_site(path: str) -> str | None:
    """The first part of an installed file's path below the folder of distributions; None for other files."""
    for folder in _site_folders():
        if path.startswith(folder):
            return path.removeprefix(folder).partition(os.sep)[0]
    return None


@cache
def distribution_of(top: str) -> tuple[str, str] | None:
    """Name and public version (without a suffix such as +cpu) of the distribution that installs a top-level module."""
    from importlib import metadata  # takes longer than all else here, and most processes need none

    for name in (top, top.replace("_", "-")):
        try:
            found = metadata.distribution(name)
        except (metadata.PackageNotFoundError, ValueError):
            continue
        if _installs(found, top):
            return found.metadata["Name"], _public(found.version)
    for name in _distributions_by_module().get(top, ()):
        return name, _public(metadata.version(name))
    return None


@cache
def distributions_sharing(top: str) -> dict[str, str]:
    """Versions of all distributions that install into a folder without __init__.py."""
    from importlib import metadata

    return {name: _public(metadata.version(name)) for name in _distributions_by_module().get(top, ())}


def _public(version: str) -> str:
    return version.partition("+")[0]


def _installs(found: "Distribution", top: str) -> bool:
    """Whether a distribution says that it installs the module. An editable one names its files elsewhere."""
    files = f"\n{found.read_text('RECORD') or ''}"
    return any(f"\n{top}{rest}" in files for rest in ("/", ".py,", "."))


@cache
def _distributions_by_module() -> dict[str, list[str]]:
    from importlib import metadata

    return dict(metadata.packages_distributions())


@cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    archives = (os.path.join(prefix, sys.platlibdir, archive) for prefix in (sys.base_prefix, sys.base_exec_prefix))
    return _folders(paths["stdlib"], paths["platstdlib"], *archives)


def _site_folders() -> tuple[str, ...]:
    return _site_folders_on(tuple(sys.path))


@cache
def _site_folders_on(path: tuple[str, ...]) -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    by_name = (entry for entry in path if os.path.basename(entry.rstrip(os.sep)) in _SITE_NAMES)
    return _folders(paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages(), *by_name)


def _folders(*paths: str) -> tuple[str, ...]:
    """With a separator at the end; as they are called, and where they really lie."""
    both = [*map(os.path.abspath, paths), *map(os.path.realpath, paths)]
    return tuple(dict.fromkeys(os.path.join(path, "") for path in both))


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return path.startswith(folders) or os.path.abspath(path).startswith(folders)
