"""What a stage keeps of unfinished work, so that a killed one goes on: files that are whole and sound, or ignored.

The folder is `RunOptions.scratch`; the store names it by the output's key, hands it out under the key's lock, and
removes it once the output is published. Nothing in it is ever an input of another stage.
"""

import hashlib
from pathlib import Path

from pgolf.store.durable import put, write_synced

_DIGEST_BYTES = 32


def save(path: Path, content: bytes) -> None:
    """Write `content` behind its sha256: whole and on the disk, or not at all, whenever the process is killed."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    write_synced(unfinished, hashlib.sha256(content).digest(), content)
    put(unfinished, path)


def load(path: Path) -> bytes | None:
    """What was saved; None where nothing was, or where the file is damaged, which is removed then."""
    content = peek(path)
    if content is None:
        path.unlink(missing_ok=True)
    return content


def peek(path: Path) -> bytes | None:
    """What was saved; None where nothing was, or where the file is damaged. Changes nothing."""
    try:
        written = path.read_bytes()
    except OSError:
        return None
    digest, content = written[:_DIGEST_BYTES], written[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None
