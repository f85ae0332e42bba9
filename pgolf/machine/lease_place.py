"""Where this machine's devices are leased: one folder for all of its users and all of their jobs.

It follows from the machine alone, never from TMPDIR or HOME: a job with a temporary folder of its own would find a
leased device free. All of the folders below that are chosen from let every user make files and nobody remove another's.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from pgolf.errors import LeaseError

# /run/lock first: batch systems give jobs a /tmp and a /dev/shm of their own. Where only root may write to it, as on
# Fedora and RHEL, it is passed over by everybody, root included, or root's jobs would not meet the others'.
CANDIDATES = (Path("/run/lock"), Path("/dev/shm"), Path("/var/lock"), Path("/tmp"))
SETTING = "PGOLF_LEASES"
ELSEWHERE = f"set {SETTING} to a folder that all jobs here share"
# Numbers that Linux gives to the namespaces of the machine itself; a container has others.
_OWN_NAMESPACES = {"pid": 0xEFFFFFFC, "ipc": 0xEFFFFFFF}


def common_folder(candidates: Sequence[Path] = CANDIDATES) -> Path:
    """The first of the folders in which all users of this machine can lock files. Raises LeaseError if none is."""
    wrong = []
    for folder in candidates:
        if why := _unfit(folder):
            wrong.append(f"{folder} {why}")
        else:
            return folder.resolve()
    raise LeaseError(
        f"no folder in which all users of this machine could lease its devices: {'; '.join(wrong)}. Have root `chmod "
        f"1777 {candidates[0]}`, or {ELSEWHERE}"
    )


def chosen_folder(text: str) -> Path:
    """The folder that a user has set; it need not exist yet. Raises LeaseError for a relative or useless one."""
    folder = Path(text)
    if not folder.is_absolute():
        raise LeaseError(f"{SETTING} is {text}, which is another folder for every job; give an absolute path")
    if why := _useless(folder):
        raise LeaseError(f"{SETTING} is {text}, where no device can be leased: {why}; {ELSEWHERE}, or unset it")
    return folder


def _useless(folder: Path) -> str | None:
    """Why nobody can lock files in a folder, or make it; None where that can be done."""
    try:
        os.stat(folder)
        there = folder
    except FileNotFoundError:
        there = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    except OSError as error:
        return error.strerror
    if not there.is_dir():
        return f"{there} is not a folder"
    if not os.access(there, os.W_OK | os.X_OK) and not any(there.glob("pgolf-*.lock")):
        return f"{there} cannot be written to"
    return None


def apart(folder: Path) -> str | None:
    """Who leases elsewhere, if not all of the machine's jobs meet in the folder, as far as that can be seen.

    A container has folders of its own; one that is mounted there, besides /dev/shm, is taken for the machine's.
    """
    if not _in_container() or (os.path.ismount(folder) and not folder.is_relative_to("/dev")):
        return None
    return (
        f"this is a container, and jobs outside of it do not see its leases in {folder}: they could use the same "
        f"devices meanwhile. Mount one folder into all of them, e.g. `-v /run/lock:/run/lock`"
    )


def _unfit(folder: Path) -> str | None:
    try:
        found = folder.stat()
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a folder"
    if read_only:
        return "is on a read-only file system"
    if found.st_uid not in _roots():
        return f"belongs to user {found.st_uid} instead of root"
    if stat.S_IMODE(found.st_mode) & 0o1777 != 0o1777:
        return f"has mode {stat.S_IMODE(found.st_mode):04o} instead of 1777"
    return None


def _roots() -> set[int]:
    """User ids that stand for root: also "nobody" in a user namespace that knows no root."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
        unmapped = int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return {0}
    outside = [int(line.split()[1]) for line in lines]
    return {0} if 0 in outside else {0, unmapped}


def _in_container() -> bool:
    for name, own in _OWN_NAMESPACES.items():
        try:
            if os.stat(f"/proc/self/ns/{name}").st_ino != own:
                return True
        except OSError:
            continue
    return False
