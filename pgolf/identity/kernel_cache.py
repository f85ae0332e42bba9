"""Where numba keeps compiled loops of ours: in a folder named by all the code that a loop can reach.

numba's own cache goes by the file of a loop. What the loop calls in other files is compiled into it, and an edit there
was served from the cache under a new key. Here the name is made of the import closure's code, the versions of the
distributions that it imports, of numba and of llvmlite, and numba's settings, so that a folder holds one compilation
for ever.
"""

import contextlib
import hashlib
import importlib.machinery
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from types import FunctionType, ModuleType

from pgolf.errors import ConfigError
from pgolf.identity.closure import code_digests, distributions_reached
from pgolf.identity.snapshot import CODE

NUMBAS_CACHE = "numba.core.caching"
# Settings of numba that decide nothing about the code it makes.
_NEUTRAL = ("CACHE_DIR", "CACHE_LOCATOR_CLASSES", "DEBUG_CACHE", "NUMBA_DEFAULT_NUM_THREADS", "NUMBA_NUM_THREADS")
_KEPT_S = 30 * 86400.0


def spec_that_registers(path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    """The spec of numba's cache module, which registers `ClosureLocator` as soon as it is loaded."""
    spec = importlib.machinery.PathFinder.find_spec(NUMBAS_CACHE, path)
    if spec is not None and spec.loader is not None:
        loader = spec.loader
        execute = loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register(module)

        loader.exec_module = execute_and_register  # type: ignore[method-assign]
    return spec


def register(caching: ModuleType) -> None:
    """Have numba ask `ClosureLocator` first. caching: numba's cache module."""
    caching.CacheImpl._locator_classes.insert(0, ClosureLocator)
    if users := caching.config.CACHE_LOCATOR_CLASSES:  # used instead of numba's own list
        caching.config.CACHE_LOCATOR_CLASSES = f"{__name__}.{ClosureLocator.__name__},{users}"


class ClosureLocator:
    """Tells numba where the compilation of one function is kept, and what it was made from."""

    def __init__(self, function: FunctionType, folder: str, digest: str, file: str) -> None:
        self._folder, self._digest, self._py_file = folder, digest, file
        self._line = function.__code__.co_firstlineno
        self._function, self._constants = function, dict(_constants(function, set()))

    @classmethod
    def from_function(cls, function: FunctionType, file: str) -> "ClosureLocator | None":
        """None for functions that are not ours."""
        if function.__module__ not in CODE.files:
            return None
        digest = compiled_from(function.__module__)
        folder = _writable_folder(os.path.dirname(CODE.files[function.__module__].path), digest[:16])
        return cls(function, folder, digest, file)

    def ensure_cache_path(self) -> None:
        """Called before a compilation is kept. Raises ConfigError if it is not of the code that names it."""
        for (module, name), value in _constants(self._function, set()):
            if self._constants.get((module, name), value) != value:
                raise ConfigError(
                    f"{module}.{name} was changed in this process from {self._constants[module, name]} to {value}, and "
                    "compiled loops that use it would be found by others; edit the source instead"
                )
        os.makedirs(self._folder, exist_ok=True)

    def get_cache_path(self) -> str:
        return self._folder

    def get_source_stamp(self) -> str:
        return self._digest

    def get_disambiguator(self) -> str:
        return str(self._line)


def _constants(function: FunctionType, seen: set[FunctionType]) -> Iterator[tuple[tuple[str, str], str]]:
    """Module, name and value of the plain constants that a loop and the loops which it calls are compiled with."""
    seen.add(function)
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, bool | int | float | complex | str | tuple):
            yield (function.__module__, name), repr(value)
        inner = getattr(value, "py_func", None)
        if isinstance(inner, FunctionType) and inner not in seen:
            yield from _constants(inner, seen)


@cache
def compiled_from(module: str) -> str:
    """sha256 (hex) of all that decides what the loops of a module compile to."""
    from numba.core import config  # loaded long since: it is numba that asks

    plain = (bool, int, float, str)
    settings = {name: value for name, value in vars(config).items() if name.isupper() and isinstance(value, plain)}
    decisive = sorted((name, value) for name, value in settings.items() if name not in _NEUTRAL)
    compilers = [(name, metadata.version(name)) for name in ("numba", "llvmlite")]
    code = [sorted(code_digests(module).items()), sorted(distributions_reached(module).items())]
    return hashlib.sha256(repr([*code, compilers, decisive]).encode()).hexdigest()


@cache
def _writable_folder(beside: str, name: str) -> str:
    """Where the user wants numba's caches, else beside the source, else in the user's cache, else of this process."""
    from numba.core import config
    from numba.misc.appdirs import AppDirs

    chosen = vars(config)["CACHE_DIR"]
    user = AppDirs("numba", False).user_cache_dir  # type: ignore[no-untyped-call]
    in_order = (os.path.join(beside, "__pycache__"), os.path.join(user, "pgolf"))
    for parent in (os.path.join(chosen, "pgolf"),) if chosen else in_order:
        with contextlib.suppress(OSError):
            folder = os.path.join(parent, name)
            _remove_old(parent, but=name)
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                os.utime(folder)
            return folder
    return _own_folder().name


@cache
def _own_folder() -> "tempfile.TemporaryDirectory[str]":
    """Removed at the end of the process. Not one that others could have made: what lies there is executed."""
    return tempfile.TemporaryDirectory(prefix="pgolf-kernels-")


def _remove_old(parent: str, *, but: str) -> None:
    """Compilations of code that nobody has run for a month."""
    for entry in os.scandir(parent) if os.path.isdir(parent) else ():
        ours = len(entry.name) == len(but) and entry.is_dir(follow_symlinks=False)
        if ours and entry.name != but and time.time() - entry.stat().st_mtime > _KEPT_S:
            shutil.rmtree(entry.path, ignore_errors=True)
