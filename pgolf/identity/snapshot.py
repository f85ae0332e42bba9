"""The code that runs: our packages' files as they were when `pgolf` was first imported, and their import from there.

Whoever imports `pgolf` reads all modules of ours once. Keys are made from these bytes, and from these bytes every
module is imported, however late: an edit, a stash or another branch changes neither what a living process does nor what
its outputs are called. Ranks get the same bytes as a zip file (`pgolf.machine.launch`).

Compiled code comes from Python's `__pycache__`, where a file counts by the hash of its source (PEP 552) and never by
its time. Imports nothing of ours: `pgolf/__init__.py` executes this file before there is anything to import.
"""

import contextlib
import hashlib
import importlib.machinery
import importlib.util
import linecache
import marshal
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import CodeType, ModuleType
from typing import Any

PACKAGES = ("pgolf", "tasks", "flows")

# In a zip: where the files lay, which is what tracebacks name.
_ORIGIN = "ORIGIN"
# Of a .pyc: named by the hash of its source, to be compared with the source (PEP 552).
_PYC_HEADER = importlib.util.MAGIC_NUMBER + (0b11).to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One module's source. path: where it lay when it was read."""

    path: str
    text: bytes

    @property
    def is_package(self) -> bool:
        return os.path.basename(self.path) == "__init__.py"


class Snapshot:
    """Source files of packages by dotted module name, read once. root: the folder that held the packages."""

    def __init__(self, root: str, files: Mapping[str, SourceFile]) -> None:
        self.root, self.files = root, files

    @classmethod
    def of_folder(cls, root: str, packages: Sequence[str] = PACKAGES) -> "Snapshot":
        """Of those of the packages that lie in a folder. Raises OSError if a file cannot be read."""
        files = {}
        for package in packages:
            if not os.path.isfile(os.path.join(root, package, "__init__.py")):
                continue
            for folder, folders, names in os.walk(os.path.join(root, package)):
                folders[:] = sorted(name for name in folders if name.isidentifier() and name != "__pycache__")
                for name in sorted(names):
                    if name.endswith(".py"):
                        path = os.path.join(folder, name)
                        with open(path, "rb") as file:
                            files[_module_name(os.path.relpath(path, root))] = SourceFile(path, file.read())
        return cls(root, files)

    @classmethod
    def of_zip(cls, archive: str) -> "Snapshot":
        """One that `write` has written."""
        import zipfile

        with zipfile.ZipFile(archive) as zipped:
            root = zipped.read(_ORIGIN).decode("utf-8", "surrogateescape")
            names = [name for name in zipped.namelist() if name != _ORIGIN]
            files = {_module_name(name): SourceFile(os.path.join(root, name), zipped.read(name)) for name in names}
        return cls(root, files)

    def write(self, archive: str) -> None:
        """Write a zip file from which Python imports the packages, and a process of ours takes this snapshot."""
        import zipfile

        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr(_ORIGIN, self.root.encode("utf-8", "surrogateescape"))
            for file in self.files.values():
                zipped.writestr(os.path.relpath(file.path, self.root), file.text)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of all names and bytes."""
        hasher = hashlib.sha256()
        for name, file in sorted(self.files.items()):
            hasher.update(f"{name} {file.is_package} {len(file.text)}\n".encode() + file.text)
        return hasher.hexdigest()

    def is_on_disk(self) -> bool:
        """Whether the files are there, the same, and no others."""
        try:
            return Snapshot.of_folder(self.root).digest == self.digest
        except OSError:
            return False


def _module_name(path: str) -> str:
    parts = path.removesuffix(".py").split(os.sep)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class SnapshotImporter:
    """Finds and loads the modules of a snapshot, and says of all others below its packages that there are none."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        file = self.snapshot.files.get(fullname)
        if file is None:
            if fullname == "numba.core.caching":
                from pgolf.identity.kernel_cache import spec_that_registers

                return spec_that_registers(path)
            if fullname.partition(".")[0] in self.snapshot.files:
                # Otherwise a file that was added meanwhile would be found by its path.
                raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
            return None
        loader: Any = self  # all that a loader needs, without the milliseconds that importlib.abc takes
        spec = importlib.machinery.ModuleSpec(fullname, loader, origin=file.path, is_package=file.is_package)
        spec.has_location = True
        if file.is_package:
            spec.submodule_search_locations = [os.path.dirname(file.path)]
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """As Python itself does."""

    def exec_module(self, module: ModuleType) -> None:
        file = self.snapshot.files[module.__name__]
        # For tracebacks and inspect: the lines that run, not those that the file has by then (None: never compared).
        lines = importlib.util.decode_source(file.text).splitlines(keepends=True)
        linecache.cache[file.path] = (len(file.text), None, lines, file.path)
        exec(self.get_code(module.__name__), module.__dict__)

    def is_package(self, fullname: str) -> bool:
        return self.snapshot.files[fullname].is_package

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.snapshot.files[fullname].text)

    def get_code(self, fullname: str) -> CodeType:
        file = self.snapshot.files[fullname]
        cached = importlib.util.cache_from_source(file.path)
        header = _PYC_HEADER + importlib.util.source_hash(file.text)
        with contextlib.suppress(OSError, EOFError, ValueError, TypeError), open(cached, "rb") as pyc:
            if pyc.read(len(header)) == header:
                known = marshal.loads(pyc.read())
                if isinstance(known, CodeType):
                    return known
        code = compile(file.text, file.path, "exec", dont_inherit=True)
        if not sys.dont_write_bytecode:
            _write(cached, header + marshal.dumps(code))
        return code


def _write(path: str, content: bytes) -> None:
    """Replace a file, or leave it where that is not allowed: it only saves time."""
    temporary = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, path)


CODE: Snapshot
"""The snapshot that this process runs."""


def begin(package_folder: str) -> None:
    """Take the snapshot of this process, and import from it from now on. package_folder: that of pgolf/__init__.py."""
    global CODE
    root = os.path.dirname(package_folder)
    CODE = Snapshot.of_zip(root) if os.path.isfile(root) else Snapshot.of_folder(root)
    sys.meta_path.insert(0, SnapshotImporter(CODE))
    if numbas_cache := sys.modules.get("numba.core.caching"):  # as in a notebook
        from pgolf.identity.kernel_cache import register

        register(numbas_cache)
