"""What parsing the code that runs has found, kept for the next process: it is most of the time that a plan takes.

One file in `__pycache__`, like compiled code. An entry is named by all that decides it: the module's name and bytes,
the code that parses, and the Python. The file begins with the digest of the rest, so that a damaged one counts as
empty; losing it costs half a second, and where it cannot be written nothing is kept.
"""

import atexit
import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from typing import Any

from pgolf.identity.snapshot import CODE

# Beyond this only what this process has used stays: every edit adds entries.
MOST_ENTRIES = 2000


class ParseCache:
    """Entries of one file: JSON values for modules of the code that runs. code: the modules of ours that make them.

    For any other source, such as that of a folder, there is none, and none is kept.
    """

    def __init__(self, file: str, code: tuple[str, ...]) -> None:
        self._file, self._code = file, code
        self._maker: bytes | None = None
        self._known: dict[str, Any] | None = None
        self._used: dict[str, Any] = {}
        self._is_learning = False

    def get(self, module: str, source: bytes) -> Any:
        """A module's entry; None where there is none."""
        name = self._name(module, source)
        if name is None:
            return None
        if self._known is None:
            self._known = _read(self._file)
        if name in self._known:
            self._used[name] = self._known[name]
        return self._used.get(name)

    def put(self, module: str, source: bytes, value: Any) -> None:
        """Keep an entry; it is written when the process ends."""
        name = self._name(module, source)
        if name is None:
            return
        self._used[name] = value
        if not self._is_learning:
            self._is_learning = True
            atexit.register(self._write)

    def _name(self, module: str, source: bytes) -> str | None:
        file = CODE.files.get(module)
        if file is None or file.text != source:
            return None
        if self._maker is None:
            made_by = [CODE.files[name].text for name in self._code]
            self._maker = hashlib.sha256(b"\0".join([sys.version.encode(), *made_by])).digest()
        about = f"{module} {file.is_package} ".encode("utf-8", "surrogatepass")
        return hashlib.sha256(self._maker + about + source).hexdigest()

    def _write(self) -> None:
        if sys.dont_write_bytecode:
            return
        known = _read(self._file)  # others may have written meanwhile
        text = json.dumps(self._used if len(known) > MOST_ENTRIES else known | self._used).encode()
        unfinished = f"{self._file}.{os.getpid()}-{os.urandom(4).hex()}"
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._file), exist_ok=True)
            try:
                with open(unfinished, "wb") as file:
                    file.write(_digest(text) + b"\n" + text)
                os.replace(unfinished, self._file)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unfinished)


def beside(module: str, name: str) -> str:
    """Path of a file where Python keeps the compiled code of a module of ours."""
    compiled = importlib.util.cache_from_source(CODE.files[module].path)
    return os.path.join(os.path.dirname(compiled), f"{name}.{sys.implementation.cache_tag}.json")


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            digest, _, text = file.read().partition(b"\n")
        entries = json.loads(text) if digest == _digest(text) else {}
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
