"""List the child processes of a process, from /proc."""

from pathlib import Path


def children(parent: int) -> list[int]:
    """Pids of the living direct children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command name in parentheses may be any bytes; state and ppid follow the last parenthesis.
            state, parent_of = stat.read_bytes().rsplit(b")", 1)[1].split()[:2]
        except (OSError, IndexError):
            continue
        if state != b"Z" and int(parent_of) == parent:
            found.append(int(stat.parent.name))
    return found
