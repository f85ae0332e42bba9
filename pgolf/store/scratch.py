"""Checksummed files in a stage's scratch folder, from which it resumes after a kill; damaged ones are ignored.

The folder is `RunOptions.scratch`; the store names it by the output's key, provides it under the key's lock, and
removes it once the output is published. Nothing in it is ever an input of another stage.
"""

import hashlib
from pathlib import Path

from pgolf.store.durable import put, write_synced
from pgolf.store.plain_file import read_plain

_DIGEST_BYTES = 32
# Sums of a grid, optimizer states: never near this.
_MOST_BYTES = 1 << 36


def save(path: Path, content: bytes) -> None:
    """Write `content`, prefixed by its SHA-256, atomically and durably."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    write_synced(unfinished, hashlib.sha256(content).digest(), content)
    put(unfinished, path)


def load(path: Path) -> bytes | None:
    """Read what was saved; None if there is nothing or it is damaged. A damaged file is removed."""
    content = peek(path)
    if content is None:
        path.unlink(missing_ok=True)
    return content


def peek(path: Path) -> bytes | None:
    """As `load`, but leaves a damaged file in place."""
    try:
        written = read_plain(path, most_bytes=_MOST_BYTES)
    except OSError:
        return None
    digest, content = written[:_DIGEST_BYTES], written[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None
