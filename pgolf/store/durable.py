"""Files that survive a power cut: first the content is on the disk, then the name that says that it is there."""

import os
from pathlib import Path


def write_synced(path: Path, *parts: bytes | memoryview) -> None:
    """Write the parts one after the other; they are on the disk when this returns."""
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Bring a file's content, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put(path: Path, to: Path) -> None:
    """Give a file or folder that is on the disk its final name, at once and to stay; a file there is replaced."""
    os.replace(path, to)
    sync(to.parent)
