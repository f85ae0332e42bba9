"""The processes that a process has started."""

from pathlib import Path


def children(parent: int) -> list[int]:
    """Pids of the living direct children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before the last bracket may hold anything; state and parent follow it.
            state, parent_of = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != "Z" and int(parent_of) == parent:
            found.append(int(stat.parent.name))
    return found
