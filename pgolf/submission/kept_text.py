"""The packed modules of the bundled script, kept for the next process: packing is a tenth of the time of a plan.

One file in `__pycache__` that holds the last one, under the digest of what was packed and of the Python that did. It
begins with the digest of the rest, so that a damaged one counts as none; losing it costs 50 milliseconds.
"""

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable

from pgolf.identity.parse_cache import beside


def kept(text: str, make: Callable[[str], str]) -> str:
    """`make(text)`, an ASCII text that depends on nothing else; from the file where that holds it."""
    path = beside("pgolf.submission.bundle", "packed_modules")
    name = hashlib.sha256(f"{sys.version}\0{text}".encode()).hexdigest()
    with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
        seal, _, rest = file.read().partition(b"\n")
        if seal == _seal(rest):
            known, _, made = rest.decode("ascii").partition("\n")
            if known == name:
                return made
    made = make(text)
    if not sys.dont_write_bytecode:
        _write(path, f"{name}\n{made}".encode("ascii"))
    return made


def _seal(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _write(path: str, content: bytes) -> None:
    unfinished = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    with contextlib.suppress(OSError):  # it only saves time
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(unfinished, "wb") as file:
                file.write(_seal(content) + b"\n" + content)
            os.replace(unfinished, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unfinished)
