"""Whether a run could write to a folder, as far as that shows without writing anything."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path


def unwritable(
    folder: Path, option: str, parts: Sequence[str], *, names: Sequence[str], named_by: str
) -> Iterator[str]:
    """What stands against writing below the folder, which need not exist yet.

    option: how the user names the folder. parts: folders in it that are written to. names: the longest names that files
    in it will get, from the setting `named_by`.
    """
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path) or path == path.parent)
    try:
        most_bytes = os.pathconf(there, "PC_NAME_MAX")
    except (OSError, ValueError):
        most_bytes = 255
    for name in names:
        if (size_bytes := len(os.fsencode(name))) > most_bytes:
            shown = name if len(name) <= 60 else f"{name[:40]}…{name[-12:]}"
            yield (
                f"{named_by}: a file would be named {shown}, {size_bytes:,} bytes, and the longest name that {there} "
                f"can hold has {most_bytes:,}; shorten it"
            )
            return
    for path in (there, *(folder / part for part in parts if os.path.lexists(folder / part))):
        where = "" if path == folder else f" ({path})"
        if not path.is_dir():
            yield f"{option} {folder}{where}: not a folder; name another one"
            return
        if not os.access(path, os.W_OK | os.X_OK):
            yield f"{option} {folder}{where}: cannot be written to; make it writable, or name another folder"
            return
