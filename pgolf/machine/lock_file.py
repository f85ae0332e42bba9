"""One lock file that all users of a machine share, opened without trusting what lies in its place, and its holder.

Anybody may make a file in such a folder, whatever its name. So it is opened without following a link, made only where
there is nothing, never truncated unless it is a file of one name that we have locked, and nothing that could block is
opened. The line that the holder leaves in it is for people: the lock itself is the kernel's.
"""

import errno
import fcntl
import json
import os
import pwd
import stat
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pgolf.errors import LeaseError
from pgolf.machine.flock import flock
from pgolf.machine.lack import NO_SPACE
from pgolf.machine.lease_place import ELSEWHERE
from pgolf.machine.process import Process

_SHARED_MODE = 0o666
_MOST_BYTES = 2_000
_MOST_COMMAND = 80
# Between making a file and opening it to others lie microseconds, which a busy machine can stretch.
_READY_WITHIN_S = 1.0
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def try_lock(path: Path) -> int | None:
    """Open the file, which is made if there is none, and lock it exclusively; None if another process holds it.

    Returns the descriptor that holds the lock. Raises LeaseError if what lies there cannot be shared as a lock.
    """
    while True:
        descriptor = _open(path)
        try:
            flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # removed meanwhile: others lock the file that is there now


def leave_word(descriptor: int) -> None:
    """Write into a file that we have locked who we are; without effect where it cannot be written."""
    line = json.dumps(asdict(_Word.ours())).encode()[:_MOST_BYTES]
    with suppress(OSError):
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))


def holder_of(path: Path) -> str:
    """Who holds the lock on the file, and since when, as far as that can be found out.

    What the file says is compared with the kernel's list of locks and of processes. User and command are read from the
    process itself; only of one that is not visible from here are they the file's.
    """
    word, locking = _Word.read(path), _locking_pid(path)
    if word is not None:
        process = word.process
        if process.is_gone and (locking in (None, process.pid)):
            return f"a process that pid {word.pid} has left behind, {word.account()} (`fuser -v {path}`)"
        if process.is_visible and not process.is_gone and locking == process.pid:
            return (
                f"pid {word.pid} of {_user(word.pid) or word.user}, {_command(word.pid) or word.command}{word.since()}"
            )
        if locking is None:
            return f"pid {word.pid}, {word.account()}, by its own account"
    if locking is not None:
        return f"pid {locking} of {_user(locking) or 'a user'}, {_command(locking) or 'a process'}"
    return f"a process that is not visible from here (`fuser -v {path}` as root)"


def _open(path: Path) -> int:
    deadline_s = time.monotonic() + _READY_WITHIN_S
    while True:
        try:
            # The path itself is looked at first: to open a device or a pipe can have effects.
            _refuse_misfit(path, os.lstat(path))
            descriptor = _open_existing(path)
        except FileNotFoundError:
            try:
                return _make(path)
            except FileExistsError:
                continue
            except OSError as error:
                raise LeaseError(f"{path} cannot be made: {error.strerror}; {_remedy_of_folder(path, error)}") from None
        except PermissionError as error:
            if time.monotonic() > deadline_s:
                raise _forbidden(path, error) from None
            time.sleep(0.01)
            continue
        except OSError as error:
            raise LeaseError(f"{path} cannot be opened: {error.strerror}; {_remedy_of_folder(path, error)}") from error
        try:
            found = os.fstat(descriptor)
            _refuse_misfit(path, found)
            if found.st_uid == os.geteuid() and found.st_mode & _SHARED_MODE != _SHARED_MODE:
                with suppress(OSError):  # immutable, or on a disk that may only be read: it can be locked all the same
                    os.fchmod(descriptor, _SHARED_MODE)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _open_existing(path: Path) -> int:
    """Without O_CREAT, which Linux forbids for another user's file in such a folder (fs.protected_regular)."""
    try:
        return os.open(path, os.O_RDWR | _OPEN)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | _OPEN)  # enough for a lock


def _make(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, _SHARED_MODE)
    with suppress(OSError):
        os.fchmod(descriptor, _SHARED_MODE)  # whatever the umask
    return descriptor


def _refuse_misfit(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size > _MOST_BYTES:
        raise LeaseError(f"{path} is no lock file of pgolf: {_said(path, found)}; {_remedy(path)}")


def _said(path: Path, found: os.stat_result) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = "a file" if stat.S_ISREG(found.st_mode) else kinds.get(stat.S_IFMT(found.st_mode), "a device")
    to = f" to {_plain(os.readlink(path))}" if stat.S_ISLNK(found.st_mode) else ""
    links = f" and {found.st_nlink} names" if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 else ""
    mode = f"mode {stat.S_IMODE(found.st_mode):04o}{links}"
    return f"{kind}{to} of {found.st_size:,} bytes, {mode}, that belongs to {_name_of(found.st_uid)}"


def _forbidden(path: Path, error: PermissionError) -> LeaseError:
    try:
        found = os.lstat(path)
    except OSError:
        return LeaseError(f"{path} cannot be reached: {error.strerror}; {_remedy_of_folder(path, error)}")
    return LeaseError(f"{path} cannot be opened: {_said(path, found)}; {_remedy(path)}")


def _remedy_of_folder(path: Path, error: OSError) -> str:
    """What to do where nothing is wrong with the file itself."""
    if error.errno in NO_SPACE:
        there = f"have root free room or inodes there (`df -h {path.parent}; df -i {path.parent}`)"
    elif error.errno == errno.EROFS:
        there = f"have root mount {path.parent} writable"
    elif error.errno in (errno.EACCES, errno.EPERM):
        there = f"have root let all users make files there (`chmod 1777 {path.parent}`)"
    else:
        there = f"see what lies there (`ls -la {path.parent}`)"
    return f"{there}, or {ELSEWHERE}"


def _remedy(path: Path) -> str:
    return f"have its owner or root remove it (`rm -r {path}`), and run again"


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


@dataclass(frozen=True, slots=True)
class _Word:
    """What a holder writes into its lock file."""

    host: str
    boot: str
    pids: str
    pid: int
    at: str
    user: str
    command: str
    since_utc: str

    @classmethod
    def ours(cls) -> Self:
        process = Process.here()
        command = " ".join([os.path.basename(sys.argv[0] or "python"), *sys.argv[1:3]])
        since_utc = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return cls(
            **{name: getattr(process, name) for name in Process.__slots__},
            user=_name_of(os.geteuid()),
            command=_plain(command),
            since_utc=since_utc,
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What the file says, in printable characters; None if that is nothing."""
        try:
            descriptor = os.open(path, os.O_RDONLY | _OPEN)
        except OSError:
            return None
        try:
            said = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
            texts = {name: _plain(str(said[name])) for name in cls.__slots__ if name != "pid"}
            datetime.fromisoformat(texts["since_utc"].removesuffix(" UTC"))
            return cls(pid=int(said["pid"]), **texts)
        except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return None
        finally:
            os.close(descriptor)

    @property
    def process(self) -> Process:
        return Process(self.host, self.boot, self.pids, self.pid, self.at)

    def account(self) -> str:
        return f"{self.command} of {self.user} on {self.host}{self.since()}"

    def since(self) -> str:
        return f" since {self.since_utc}"


def _locking_pid(path: Path) -> int | None:
    """The process that took the lock, by the kernel's list; None if it is not visible from here."""
    try:
        found = os.stat(path, follow_symlinks=False)
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        words = line.split()
        # A process that waits for the lock has an arrow in its line.
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == name and int(words[4]) > 0:
            return int(words[4])
    return None


def _user(pid: int) -> str | None:
    try:
        return _name_of(os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _command(pid: int) -> str | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return None
    return _plain(" ".join(os.fsdecode(word) for word in words)) or None


def _plain(text: str) -> str:
    """As it may be shown on a terminal: another user has written it."""
    shown = "".join(
        letter if letter.isprintable() and letter.isascii() else "?" for letter in text[: _MOST_COMMAND + 1]
    )
    return shown if len(shown) <= _MOST_COMMAND else f"{shown[: _MOST_COMMAND - 3]}..."
