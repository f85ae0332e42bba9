"""Where a module lies: in the interpreter, in an installed distribution, or in somebody's own folder.

Of the first two a key holds versions; files of the third are code like ours.
"""

import contextlib
import itertools
import os
import re
import site
import sys
import sysconfig
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_DESCRIBES = ".dist-info"
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
    return in_site and not distributions_of(spec.name.partition(".")[0])


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


def distributions_of(top: str) -> dict[str, str]:
    """Names and public versions (without a suffix such as +cpu) of all distributions that install a top-level module.

    Several may: a namespace is a folder of many, and of two that bring the same module the files are a mixture.
    """
    return _distributions_of(top, tuple(sys.path)) if top else {}


def is_needed_by(name: str, other: str) -> bool:
    """Whether a distribution is another or one that it requires, in any of its variants and however indirectly."""
    return _normal(name) in _needs(_normal(other), tuple(sys.path))


@cache
def _needs(name: str, search: tuple[str, ...]) -> frozenset[str]:
    folders = {_normal(_name_and_version(folder)[0]): folder for folder, _ in reversed(_records(search))}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        needed = waiting.pop()
        if needed not in found:
            found.add(needed)
            if needed in folders:
                waiting += [_normal(line) for line in _fields(folders[needed]).get("Requires-Dist", [])]
    return frozenset(found)


def _normal(name: str) -> str:
    """A distribution's name as all spell it. What a requirement says behind the name is left out."""
    return re.sub("[-_.]+", "-", re.split(r"[^\w.-]", name.strip(), maxsplit=1)[0]).lower()


@cache
def _distributions_of(top: str, search: tuple[str, ...]) -> dict[str, str]:
    installed = re.compile(rb"\n%s(?:/|\.(?:[\w-]+\.)*(?:py|pyc|so|pyd),)" % re.escape(top.encode()))
    begins = b"\n" + top.encode()
    found = {}
    named = set()
    for folder, record in _records(search):
        if begins in record and installed.search(record):  # `in` is many times faster
            name, version = _name_and_version(folder)
            if _normal(name) not in named:  # the first is the one that is imported
                named.add(_normal(name))
                found[name] = _public(version)
    if found:
        return found
    from importlib import metadata  # takes longer than all else here, and most processes need none

    return {name: _public(metadata.version(name)) for name in _distributions_by_module().get(top, ())}


def _public(version: str) -> str:
    return version.partition("+")[0]


@lru_cache(maxsize=1)
def _records(search: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Folders that describe installed distributions, each with the list of files. An editable one's are elsewhere.

    All are read, but not parsed, which takes 20 times as long.
    """
    found = []
    for place in dict.fromkeys(map(os.path.abspath, search)):
        for name in _names_in(place):
            if name.endswith(_DESCRIBES):
                folder = os.path.join(place, name)
                with contextlib.suppress(OSError), open(os.path.join(folder, "RECORD"), "rb") as record:
                    found.append((folder, b"\n" + record.read()))
    return found


def _name_and_version(folder: str) -> tuple[str, str]:
    """As the distribution writes them itself, else as its folder is called."""
    name, _, version = os.path.basename(folder).removesuffix(_DESCRIBES).partition("-")
    fields = _fields(folder)
    return fields.get("Name", [name])[0], fields.get("Version", [version])[0]


@cache
def _fields(folder: str) -> dict[str, list[str]]:
    """What a distribution says of itself, without its description."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(OSError), open(os.path.join(folder, "METADATA"), encoding="utf-8") as file:
        for line in itertools.takewhile(str.strip, file):
            name, _, value = line.rstrip("\n").partition(": ")
            found.setdefault(name, []).append(value)
    return found


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


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
    known = _folders(paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages())
    further = (entry for entry in path if os.path.join(os.path.abspath(entry), "") not in known)
    return (*known, *_folders(*filter(_holds_distributions, further)))


def _holds_distributions(folder: str) -> bool:
    """Whether it is called as such folders are, or `pip install --target` has filled it."""
    if os.path.basename(folder.rstrip(os.sep)) in _SITE_NAMES:
        return True
    return any(name.endswith(_DESCRIBES) for name in _names_in(folder))


def _folders(*paths: str) -> tuple[str, ...]:
    """With a separator at the end; as they are called, and where they really lie."""
    both = [*map(os.path.abspath, paths), *map(os.path.realpath, paths)]
    return tuple(dict.fromkeys(os.path.join(path, "") for path in both))


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return path.startswith(folders) or os.path.abspath(path).startswith(folders)
