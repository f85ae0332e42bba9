"""Folders that survive a power cut, as `pgolf.store.durable` makes files that do.

Not there: that module's code is in the key of every stage that keeps checkpoints.
"""

from contextlib import suppress
from pathlib import Path

from pgolf.store.durable import sync


def make_folder(path: Path) -> None:
    """Create a folder and those above it that are missing, and sync their names.

    A file that was synced is lost with its folder, if nobody has synced that folder's own name.
    """
    missing = []
    above = path
    while not above.is_dir():
        missing.append(above)
        above = above.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        with suppress(OSError):  # where folders can be synced at all, and read
            sync(folder.parent)
