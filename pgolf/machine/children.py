"""List the child processes of a process, from /proc."""

from pathlib import Path


def children(parent: int) -> list[int]:
    """Pids of the living direct children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command name in parentheses may contain anything; state and ppid follow the last parenthesis.
            state, parent_of = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != "Z" and int(parent_of) == parent:
            found.append(int(stat.parent.name))
    return found
