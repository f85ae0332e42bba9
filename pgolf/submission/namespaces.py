"""Linux namespaces of a process, by the system calls themselves: Python 3.11 has none of them.

Each raises OSError that names the call, where the system does not know or not allow it.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MNT_DETACH = 2
# The same numbers on all machines: both calls are younger than the machines' own tables.
_SYS_MOUNT_SETATTR = 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_READ_ONLY, _NO_SUID = 1, 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_PR_SET_NO_NEW_PRIVS = 38

# Who the process is inside: nobody that the machine knows.
USER_ID = 1000


def enter_own_namespaces() -> None:
    """Give this process and its children users, a network (loopback alone), messages and a host name of their own; and
    its next child, with all of that child's, process numbers of their own.

    This process then has all rights inside, which end when it executes a program.
    """
    user, group = os.getuid(), os.getgid()
    _unshare(_CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{USER_ID} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{USER_ID} {group} 1")
    socket.sethostname("clean-room")
    _raise_loopback()


def enter_own_mounts() -> None:
    """From now on what this process mounts is seen by itself and its children alone."""
    _unshare(_CLONE_NEWNS)
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)


def mount_memory(target: str, size_bytes: int) -> None:
    """An empty file system in memory that holds at most so many bytes."""
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=755,size={size_bytes}")


def mount_processes(target: str) -> None:
    """/proc of this process's namespace."""
    _mount("proc", target, "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def protect_machine(processes: str) -> None:
    """Nothing of the machine can be set through a mounted /proc: all but the processes' own folders is read-only there.

    Who made the namespace may be root, and so own the machine's settings whatever rights it has given up. Nor can
    anybody get rights by namespaces of their own, within this one.
    """
    with contextlib.suppress(OSError):  # a kernel that does not count them
        Path(processes, "sys/user/max_user_namespaces").write_text("0")
    for entry in os.scandir(processes):
        if not entry.name.isdigit() and not entry.is_symlink():
            bind(entry.path, entry.path)
            protect(entry.path)


def bind(source: str, target: str) -> None:
    """Show a file or folder at another path, which is there already."""
    _mount(source, target, None, _MS_BIND | _MS_REC)


def protect(target: str, *, below: bool = True) -> None:
    """Nothing can be written through a mount any more, nor through those below it."""
    attributes = struct.pack("<QQQQ", _READ_ONLY | _NO_SUID, 0, 0, 0)
    where = os.fsencode(target)
    recursive = _AT_RECURSIVE if below else 0
    if _libc().syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, where, recursive, attributes, len(attributes)) != 0:
        raise _failed(f"mount_setattr {target}")


def make_root(folder: str) -> None:
    """Make a mounted folder the root of this process; nothing else is reachable from then on."""
    os.chdir(folder)
    machine = os.uname().machine
    if machine not in _SYS_PIVOT_ROOT:
        raise OSError(f"pivot_root: its number is not known for {machine}")
    if _libc().syscall(_SYS_PIVOT_ROOT[machine], b".", b".") != 0:
        raise _failed("pivot_root")
    if _libc().umount2(b".", _MNT_DETACH) != 0:
        raise _failed("umount2")
    os.chdir("/")


def give_up_privileges() -> None:
    """No program that this process executes gets more rights than it has, whatever that file's owner and mode."""
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _failed("prctl(PR_SET_NO_NEW_PRIVS)")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = b"lo".ljust(16, b"\0")
        (flags,) = struct.unpack_from("<H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, name + bytes(16)), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, name + struct.pack("<H", flags | _IFF_UP) + bytes(14))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _unshare(flags: int) -> None:
    if _libc().unshare(flags) != 0:
        raise _failed("unshare")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    if _libc().mount(*words, ctypes.c_ulong(flags), data.encode()) != 0:
        raise _failed(f"mount {target}")


def _failed(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
