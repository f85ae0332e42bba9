"""What the kernel says of processes."""

from pathlib import Path


def descendants(pid: int) -> set[int]:
    """All processes below `pid`."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = set(), [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.add(child)
            waiting.append(child)
    return found


def is_running(pid: int) -> bool:
    """Whether it lives, or is a zombie with threads that do: until they are gone its files and locks stay open."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[0] != "Z" or int(fields[17]) > 1


def command_of(pid: int) -> str:
    """Its command line; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def ranks_below(pid: int) -> list[int]:
    """Pids of the ranks that train below `pid`, without the torchrun above them."""
    commands = {below: command_of(below) for below in descendants(pid)}
    return [
        below for below, said in commands.items() if "-m pgolf.train" in said and "pgolf.machine.launch" not in said
    ]
