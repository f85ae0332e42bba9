"""The code that runs: our packages' files as they were when `pgolf` was first imported, and their import from there.

Whoever imports `pgolf` reads all modules of ours once. Keys are made from these bytes, and from these bytes every
module is imported, however late: an edit, a stash or another branch changes neither what a living process does nor what
its outputs are called. A module of somebody else that ours import, and that no distribution installs, joins them when
it is first looked for. Ranks get the same bytes as a zip file (`pgolf.machine.launch`).

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
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any

PACKAGES = ("pgolf", "tasks", "flows")

# Never taken over: a file that hides one of these is refused (`pgolf.identity.closure`).
_LIBRARY = sys.stdlib_module_names
# Set for ranks: the digest of the code that they must run, which is their parent's.
EXPECTED_CODE = "PGOLF_EXPECTED_CODE"
# In a zip: where each module lay, which is what tracebacks name, and where its writer looked for other modules.
_ORIGINS = "ORIGINS"
# What follows `import` or `from` where a statement begins. Where that is no import statement, nothing is lost.
_IMPORTS = re.compile(rb"(?:^|[;:])\s*(?:import|from)\s+([\w., ]+)", re.MULTILINE)
# Modules that are imported without being watched: those that the watch needs, and those that no stage reaches.
_UNWATCHED = ("pgolf", "pgolf.errors", "tasks", "flows")
_UNWATCHED_BELOW = ("pgolf.identity.", "tasks.", "flows.")
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
    """Source files of packages by dotted module name, read once.

    root: the folder that held the packages. search: where the process that wrote it looks for all other modules.
    """

    def __init__(self, root: str, files: dict[str, SourceFile], search: Sequence[str] = ()) -> None:
        self.root, self.files, self.search = root, files, search

    @classmethod
    def of_folder(cls, root: str, packages: Sequence[str] = PACKAGES) -> "Snapshot":
        """Of those of the packages that lie in a folder. Raises ImportError if a file or folder cannot be read."""
        files = {}
        for package in packages:
            if not os.path.isfile(os.path.join(root, package, "__init__.py")):
                continue
            walked = set()
            for folder, folders, names in os.walk(os.path.join(root, package), followlinks=True, onerror=_refuse):
                folders[:] = sorted(name for name in folders if name.isidentifier() and name != "__pycache__")
                if os.path.realpath(folder) in walked:  # a link to a folder above
                    folders.clear()
                    continue
                walked.add(os.path.realpath(folder))
                for name in sorted(names):
                    path = os.path.join(folder, name)
                    # Editors leave links to nowhere whose names end in .py.
                    if name.endswith(".py") and name[:-3].isidentifier() and os.path.isfile(path):
                        try:
                            files[_module_name(os.path.relpath(path, root))] = _read(path)
                        except OSError as error:
                            _refuse(error)
        return cls(root, files)

    @classmethod
    def of_zip(cls, archive: str, inside: str = "") -> "Snapshot":
        """One that `write` has written, or that somebody packed, into a folder of the archive if need be."""
        import json
        import zipfile

        with zipfile.ZipFile(archive) as zipped:
            if _ORIGINS not in zipped.namelist():
                above = f"{inside}/" if inside else ""
                names = [name.removeprefix(above) for name in zipped.namelist() if name.startswith(above)]
                root = os.path.join(archive, inside) if inside else archive
                found = {
                    _module_name(name): SourceFile(os.path.join(root, name), zipped.read(above + name))
                    for name in names
                    if name.endswith(".py") and name.split("/")[0] in PACKAGES
                }
                return cls(root, found)
            origins = json.loads(zipped.read(_ORIGINS))
            files = {
                name: SourceFile(path, zipped.read(_name_in_zip(name, path)))
                for name, path in origins["modules"].items()
            }
        return cls(origins["root"], files, origins["search"])

    def write(self, archive: str, search: Sequence[str] = ()) -> None:
        """Write a zip file from which Python imports the packages, and a process of ours takes this snapshot.

        search: becomes that process's `sys.path`, after the archive. Empty: it keeps its own.
        """
        import json
        import zipfile

        with zipfile.ZipFile(archive, "w") as zipped:
            modules = {name: file.path for name, file in self.files.items()}
            zipped.writestr(_ORIGINS, json.dumps({"root": self.root, "modules": modules, "search": [*search]}))
            for name, file in self.files.items():
                zipped.writestr(_name_in_zip(name, file.path), file.text)

    @property
    def digest(self) -> str:
        """sha256 (hex) of all names and bytes."""
        hasher = hashlib.sha256()
        for name, file in sorted(self.files.items()):
            hasher.update(f"{name} {file.is_package} {len(file.text)}\n".encode() + file.text)
        return hasher.hexdigest()

    def is_on_disk(self) -> bool:
        """Whether the files are there, the same, and no others in our packages."""
        try:
            now = dict(Snapshot.of_folder(self.root).files)
            for name in self.files.keys() - now.keys():
                now[name] = _read(self.files[name].path)
        except (OSError, ImportError):
            return False
        return now == self.files


def _refuse(error: OSError) -> None:
    """Code that is gone since its folder was read is not there; what is there and cannot be read is an error."""
    if not isinstance(error, FileNotFoundError):
        raise ImportError(
            f"{error.filename} is code of pgolf and cannot be read ({error.strerror}); make it readable or remove it",
            path=error.filename,
        ) from error


def _read(path: str) -> SourceFile:
    with open(path, "rb") as file:
        try:
            return SourceFile(path, file.read())
        except OSError as error:
            error.filename = path  # which only `open` fills in
            raise


def _name_in_zip(module: str, path: str) -> str:
    return module.replace(".", "/") + ("/__init__.py" if os.path.basename(path) == "__init__.py" else ".py")


def _module_name(path: str) -> str:
    parts = path.removesuffix(".py").split(os.sep)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class SnapshotImporter:
    """Finds and loads the modules of a snapshot, and says of all others below its packages that there are none."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        # This module, for whoever imports pgolf once more: a process has one snapshot.
        self.module: ModuleType | None = None
        self.packages = {name for name in PACKAGES if name in snapshot.files}
        # Of those the ones that Python has imported itself, since it was they that imported pgolf. They hold no code.
        self.earlier = self.packages & sys.modules.keys()
        # Top-level names that modules of the snapshot import.
        self.wanted: set[str] = set()
        # Those of them that lie in somebody's own folder.
        self.own = {name.partition(".")[0] for name in snapshot.files}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        file = self.snapshot.files.get(fullname)
        if file is None:
            top = fullname.partition(".")[0]
            if top in self.packages:
                # Otherwise a file that was added meanwhile would be found by its path.
                raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
            if top in self.wanted and (path is None or top in self.own) and top not in _LIBRARY:
                return self._of_others(fullname, path)
            if fullname == "numba.core.caching":
                from pgolf.identity.kernel_cache import spec_that_registers

                return spec_that_registers(path)
            return None
        loader: Any = self  # all that a loader needs, without the milliseconds that importlib.abc takes
        spec = importlib.machinery.ModuleSpec(fullname, loader, origin=file.path, is_package=file.is_package)
        spec.has_location = True
        if file.is_package:
            spec.submodule_search_locations = [os.path.dirname(file.path)]
        return spec

    def _of_others(self, fullname: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
        """The spec that the other finders have for a module. Source in somebody's own folder joins the snapshot."""
        from pgolf.identity.origins import is_own_code

        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(fullname, path, None) for finder in others)), None)
        if spec is None:
            return self._folder(fullname)
        if not is_own_code(spec):
            return spec
        self.own.add(fullname)
        if not spec.has_location or not str(spec.origin).endswith(".py"):
            return spec
        self.snapshot.files[fullname] = _read(str(spec.origin))
        return self.find_spec(fullname, path)

    def _folder(self, fullname: str) -> importlib.machinery.ModuleSpec | None:
        """In a child: a folder without __init__.py that holds modules of the snapshot."""
        inside = [file.path for name, file in self.snapshot.files.items() if name.startswith(f"{fullname}.")]
        if not inside:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [os.path.dirname(inside[0])]
        return spec

    def look_for(self, fullname: str) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module that one of ours imports, without importing it or its parents."""
        parent, _, _ = fullname.rpartition(".")
        self.wanted.add(fullname.partition(".")[0])
        above = self.look_for(parent) if parent else None
        if parent and (above is None or above.submodule_search_locations is None):
            return None
        try:
            return self.find_spec(fullname, above.submodule_search_locations if above else None)
        except ModuleNotFoundError:
            return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """As Python itself does."""

    def exec_module(self, module: ModuleType) -> None:
        file = self.snapshot.files[module.__name__]
        show_lines(file)
        for names in _IMPORTS.findall(file.text):
            self.wanted.update(
                name.strip().partition(b".")[0].partition(b" ")[0].decode() for name in names.split(b",")
            )
        code = self.get_code(module.__name__)
        if module.__name__ in _UNWATCHED or f"{module.__name__}.".startswith(_UNWATCHED_BELOW):
            exec(code, module.__dict__)
            return
        from pgolf.identity.watch import watching_import

        with watching_import(module.__name__):
            exec(code, module.__dict__)

    def is_package(self, fullname: str) -> bool:
        return self.snapshot.files[fullname].is_package

    def get_data(self, path: str) -> bytes:
        """A file as it is on the disk, for `pkgutil`; of a module the snapshot's."""
        for file in self.snapshot.files.values():
            if file.path == path:
                return file.text
        with open(path, "rb") as data:
            return data.read()

    def get_resource_reader(self, fullname: str) -> object:
        """For `importlib.resources`."""
        from importlib.readers import FileReader

        self.path = self.snapshot.files[fullname].path
        return FileReader(self)  # type: ignore[arg-type]

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
                    return known if known.co_filename == file.path else _moved(known, file.path)
        code = compile(file.text, file.path, "exec", dont_inherit=True)
        if not sys.dont_write_bytecode:
            _write(cached, header + marshal.dumps(code))
        return code


def _moved(code: CodeType, path: str) -> CodeType:
    """Compiled code as from the file at `path`: `inspect` looks there, and a folder may be a copy of another."""
    inner = (_moved(value, path) if isinstance(value, CodeType) else value for value in code.co_consts)
    return code.replace(co_filename=path, co_consts=tuple(inner))


def show_lines(file: SourceFile) -> None:
    """Have tracebacks and `inspect` show the lines that run, not those that the file has by then."""
    lines = importlib.util.decode_source(file.text).splitlines(keepends=True)
    linecache.cache[file.path] = (len(file.text), None, lines, file.path)  # no time: never compared with the file's


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

IMPORTER: SnapshotImporter
"""What imports it."""


def begin(package_folder: str) -> None:
    """Take the snapshot of this process, and import from it from now on. package_folder: that of pgolf/__init__.py."""
    global CODE, IMPORTER
    root = os.path.dirname(package_folder)
    if os.path.isdir(root):
        CODE = Snapshot.of_folder(root)
    else:
        archive = root
        while not os.path.isfile(archive):  # in a folder of it
            archive = os.path.dirname(archive)
        CODE = Snapshot.of_zip(archive, root.removeprefix(archive).strip(os.sep))
    expected = os.environ.get(EXPECTED_CODE)
    if expected is not None and CODE.digest != expected:
        # Not an error that could be caught, nor a stack of calls: it is printed, and the rank ends.
        raise SystemExit(
            f"this rank found the code of {root} ({CODE.digest[:12]}), and the process that started it runs other code "
            f"({expected[:12]}); keep other folders that hold a pgolf off PYTHONPATH, and unset {EXPECTED_CODE} if no "
            "process of pgolf started this one"
        )
    if CODE.search:
        sys.path[:] = [root, *CODE.search]
    for name in ("pgolf", __name__):  # which Python itself has imported
        show_lines(CODE.files[name])
    IMPORTER = SnapshotImporter(CODE)
    IMPORTER.module = sys.modules[__name__]
    sys.meta_path.insert(0, IMPORTER)
    if numbas_cache := sys.modules.get("numba.core.caching"):  # as in a notebook
        from pgolf.identity.kernel_cache import register

        register(numbas_cache)
