"""The process that runs a program in a clean room: it builds the room, watches the limits and leaves nothing behind.

`python -m pgolf.submission.room_process PID ROOM.json` where PID is the parent's. What it did it writes as lines of
JSON to the descriptor that the room names: {"refused": why} where the system allows no such room, else {"ended": …}.
It ends, and everything in the room with it, when its parent does.
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from pgolf.machine.children import children
from pgolf.machine.parent_death import die_with_parent
from pgolf.submission.namespaces import (
    bind,
    enter_own_mounts,
    enter_own_namespaces,
    give_up_privileges,
    make_root,
    mount_memory,
    mount_processes,
    protect,
    protect_machine,
)

_LOOK_EVERY_S = 0.05
_MEASURE_EVERY_S = 0.5
_LEAVE_WITHIN_S = 1.0
MOST_PROCESSES = 4096
# Of those that are left behind.
MOST_NAMED = 8
# Below a room's folder, as its program sees them.
PLACES = ("submission", "data", "witness", "tmp", "home", "shm")
_ROOT_BYTES = 1 << 24  # names and empty files alone
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

Why = Literal["time", "memory", "disk", "processes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What runs, where, and what it may use.

    folder: of the room's own, with the folders below it that the program sees as WORK/…; removed at the end.
    isolated: in namespaces, with WORK = /room; else WORK = folder and nothing is hidden.
    shown: source -> path inside, read-only. links: path inside -> where it leads.
    hidden: folders that stand empty inside. status: a descriptor.
    """

    folder: str
    isolated: bool
    words: Sequence[str]
    environment: Mapping[str, str]
    shown: Sequence[tuple[str, str]]
    links: Sequence[tuple[str, str]]
    hidden: Sequence[str]
    limit_s: float
    memory_bytes: int
    disk_bytes: int
    status: int
    most_processes: int = MOST_PROCESSES

    @property
    def work(self) -> str:
        """The folder that the program works in, as it sees it."""
        return "/room" if self.isolated else self.folder

    def to_json(self) -> str:
        """As the process reads it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the program ended. exit_code: negative for a signal. ended_by: the limit that it was ended for, or None.

    left: the commands of processes that it had started and that still ran a while after it had ended, of MOST_NAMED
    where there are more.
    """

    exit_code: int
    wall_s: float
    ended_by: Why | None
    memory_bytes: int
    disk_bytes: int
    left: Sequence[str] = ()


def main(parent: int, room: Room) -> None:
    """Run the room's program to its end."""
    try:
        signal.signal(signal.SIGTERM, _end)
        die_with_parent(parent, signal.SIGTERM)
        if room.isolated:
            _run_isolated(room)
        else:
            _become_reaper()
            _tell(room, ended=asdict(_run(room)))
    except OSError as error:
        _tell(room, refused=error.strerror or str(error))
    except _Told:
        # By the parent, or by the kernel because there is none any more, and so nobody else to remove it.
        _kill_all()
        shutil.rmtree(room.folder, ignore_errors=True)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _kill_all()


class _Told(BaseException):
    """This process was told to end."""


def _end(_signal: int, _frame: object) -> NoReturn:
    # The kernel may tell it once per thread of the parent.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Told


def _kill_all() -> None:
    """Kill all children of this process and all of theirs, until none is left."""
    while pids := _descendants(os.getpid()):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [below for one in found for below in _descendants(one)]


def _become_reaper() -> None:
    """Whoever loses its parent becomes this process's child, and so is found at the end."""
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _run_isolated(room: Room) -> None:
    enter_own_namespaces()
    die_with_parent(os.getppid(), signal.SIGTERM)  # the kernel forgets it with the change of rights
    first = os.fork()
    if first == 0:
        _be_first(room)
    _let_go_of_streams()
    os.waitpid(first, 0)


def _be_first(room: Room) -> NoReturn:
    """The first process of the namespace: all others end with it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        die_with_parent(0)  # which is outside, and so has no number here
        _build(room)
        _tell(room, ended=asdict(_run(room)))
    except OSError as error:
        _tell(room, refused=error.strerror or str(error))
    except BaseException as error:
        _tell(room, refused=f"{type(error).__name__}: {error}")
    os._exit(0)


def _build(room: Room) -> None:
    """Make the room's file system the root of this process."""
    enter_own_mounts()
    root = f"{room.folder}/root"
    os.mkdir(root)
    mount_memory(root, _ROOT_BYTES)
    for name in ("dev", "etc", "proc", "room", "tmp"):
        os.mkdir(f"{root}/{name}")
    # First of all: the interpreter itself may lie in /tmp.
    mount_memory(f"{root}/room", room.disk_bytes)
    for name in PLACES:
        os.mkdir(f"{root}/room/{name}")
    bind(f"{root}/room/tmp", f"{root}/tmp")
    for source, target in room.shown:
        _put_place(source, root + target)
        bind(source, root + target)
        protect(root + target)
    for path, leads_to in room.links:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(leads_to, root + path)
    for path in room.hidden:
        mount_memory(root + path, 4096)
        protect(root + path)
    for name in (*_DEVICES, *(path.name for path in Path("/dev").glob("nvidia*"))):
        if os.path.exists(f"/dev/{name}"):
            _put_place(f"/dev/{name}", f"{root}/dev/{name}")
            bind(f"/dev/{name}", f"{root}/dev/{name}")
    for name, leads_to in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{leads_to}", f"{root}/dev/{name}")
    os.mkdir(f"{root}/dev/shm")
    bind(f"{root}/room/shm", f"{root}/dev/shm")
    for name, text in _ETC.items():
        Path(f"{root}/etc/{name}").write_text(text)
    mount_processes(f"{root}/proc")
    protect_machine(f"{root}/proc")
    protect(root, below=False)
    make_root(root)


_ETC = {
    "hosts": "127.0.0.1 localhost clean-room\n::1 localhost\n",
    "passwd": "somebody:x:1000:1000::/room/home:/bin/sh\n",
    "group": "somebody:x:1000:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def _put_place(source: str, target: str) -> None:
    """An empty file or folder, as the source is one, where something is to be mounted."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def _run(room: Room) -> Ended:
    """Start the program and watch it until it ends, or a limit ends it."""
    began_s = time.monotonic()
    program = os.fork()
    if program == 0:
        _become_program(room)
    _let_go_of_streams()
    measured_s, memory_bytes, disk_bytes = 0.0, 0, 0
    ended_by: Why | None = None
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == program:
            break
        if pid:
            continue  # somebody else's child that was left to us
        now_s = time.monotonic()
        pids = _descendants(program) if not room.isolated else _all_processes()
        memory_bytes = max(memory_bytes, now_bytes := sum(map(_memory_bytes, {program, *pids})))
        if now_s - measured_s >= _MEASURE_EVERY_S:
            measured_s = now_s
            disk_bytes = max(disk_bytes, _disk_bytes(room))
        if now_s - began_s > room.limit_s:
            ended_by = "time"
        elif now_bytes > room.memory_bytes:
            ended_by = "memory"
        elif disk_bytes > room.disk_bytes * 0.98:
            ended_by = "disk"
        elif len(pids) > room.most_processes:
            ended_by = "processes"
        if ended_by is not None:
            os.kill(program, signal.SIGKILL)
            _pid, status = os.waitpid(program, 0)
            break
        time.sleep(_LOOK_EVERY_S)
    return Ended(
        exit_code=os.waitstatus_to_exitcode(status),
        wall_s=time.monotonic() - began_s,
        ended_by=ended_by,
        memory_bytes=memory_bytes,
        disk_bytes=max(disk_bytes, _disk_bytes(room)),
        left=() if ended_by else _left(room),
    )


def _let_go_of_streams() -> None:
    """Only the program holds its input and output: who reads them sees when it closes them."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _left(room: Room) -> list[str]:
    """The commands of who is still here; those that end with the program get the time to."""
    until_s = time.monotonic() + _LEAVE_WITHIN_S
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        pids = _all_processes() if room.isolated else _descendants(os.getpid())
        if not pids or time.monotonic() > until_s:
            return [_command(pid) for pid in pids[:MOST_NAMED]]
        time.sleep(0.01)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return ""


def _become_program(room: Room) -> NoReturn:
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent(os.getppid())
        os.setsid()
        os.close(room.status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (room.disk_bytes, room.disk_bytes))
        with suppress(OSError):  # where memory runs short, this goes first
            Path("/proc/self/oom_score_adj").write_text("1000")
        give_up_privileges()
        os.chdir(f"{room.work}/submission")
        os.execve(room.words[0], list(room.words), dict(room.environment))
    except BaseException as error:
        print(f"the program could not be started: {error}", file=sys.stderr, flush=True)
    os._exit(127)


def _all_processes() -> list[int]:
    """Of the namespace, but for the first."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def _memory_bytes(pid: int) -> int:
    """What a process holds that is no file."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (OSError, ValueError):
        return 0
    held = [line.split()[1] for line in status.splitlines() if line.startswith(("RssAnon:", "RssShmem:", "VmSwap:"))]
    return sum(map(int, held)) * 1024


def _disk_bytes(room: Room) -> int:
    if room.isolated:
        told = os.statvfs("/room")
        return (told.f_blocks - told.f_bfree) * told.f_frsize
    total = 0
    for folder, _folders, names in os.walk(room.folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def _tell(room: Room, **told: Any) -> None:
    os.write(room.status, json.dumps(told).encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), Room(**json.loads(Path(sys.argv[2]).read_text())))
