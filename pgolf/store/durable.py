"""Crash-safe file writes: fsync the content, rename it atomically, fsync the folder."""

import os
from pathlib import Path


def write_synced(path: Path, *parts: bytes | memoryview) -> None:
    """Write the parts in order and fsync."""
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """fsync a file's content, or the entries of a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put(path: Path, to: Path) -> None:
    """Rename a synced file or folder to its final name, atomically and durably; replaces an existing file."""
    os.replace(path, to)
    sync(to.parent)
