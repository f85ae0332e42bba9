"""Lock files of all users of a machine: whatever lies in their place is refused, and who holds them is found out."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pgolf.errors import LeaseError, MachineError
from pgolf.machine.lease import lease, leased
from pgolf.machine.lock_file import holder_of, leave_word, try_lock

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


@pytest.fixture
def shared(tmp_path) -> Path:
    """A folder like /run/lock, which other users reach."""
    folder = tmp_path / "lock"
    folder.mkdir()
    folder.chmod(0o1777)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


def as_nobody(work) -> str:
    """What `work` returns, or the text of its error, in a process of another user."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, str(said).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as pipe:
        return pipe.read().decode()


def link(path: Path) -> None:
    path.with_name("victim").write_text("precious")
    path.symlink_to(path.with_name("victim"))


def dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("made-through-a-link"))


def hard_link(path: Path) -> None:
    path.with_name("victim").write_text("precious")
    path.hardlink_to(path.with_name("victim"))


def local_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # the longest name that a socket may have is short
        server.bind(path.name)


def large_file(path: Path) -> None:
    path.write_bytes(bytes(5000))


HOSTILE = {
    "a link to": link,
    "a link": dangling_link,
    "2 names": hard_link,
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a socket": local_socket,
    "5,000 bytes": large_file,
}


@pytest.mark.parametrize("kind", ["lock", "turn"])
@pytest.mark.parametrize("said", HOSTILE)
def test_what_somebody_has_prepared_in_the_place_of_a_lock_is_refused_and_left_as_it_is(
    tmp_path, monkeypatch, said, kind
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"pgolf-cpu-0.{kind}"
    HOSTILE[said](path)
    before = os.lstat(path)
    with (
        pytest.raises(LeaseError, match=f"pgolf-cpu-0.{kind} is no lock file of pgolf: .*{said}.* have its owner"),
        lease(tmp_path, ["cpu-0"], 1, log_line=pytest.fail),
    ):
        pass
    after = os.lstat(path)
    assert (after.st_ino, after.st_size, after.st_mode) == (before.st_ino, before.st_size, before.st_mode)
    assert not (tmp_path / "made-through-a-link").exists()
    if (tmp_path / "victim").exists():
        assert (tmp_path / "victim").read_text() == "precious"


@as_root
def test_a_file_that_another_user_has_made_is_locked_by_both_whatever_the_umask(shared):
    path = shared / "pgolf-cpu-0.lock"
    umask = os.umask(0o077)
    try:
        descriptor = try_lock(path)
    finally:
        os.umask(umask)
    leave_word(descriptor)
    assert as_nobody(lambda: try_lock(path)) == "None"
    assert f"pid {os.getpid()} of root, " in as_nobody(lambda: holder_of(path))
    os.close(descriptor)
    assert as_nobody(lambda: try_lock(path) is not None) == "True"
    theirs = shared / "pgolf-cpu-1.lock"
    assert as_nobody(lambda: try_lock(theirs) is not None) == "True"
    descriptor = try_lock(theirs)
    assert as_nobody(lambda: try_lock(theirs)) == "None"
    os.close(descriptor)


@as_root
def test_a_file_that_its_owner_keeps_to_himself_is_an_error_with_its_mode_and_owner(shared):
    path = shared / "pgolf-cpu-0.lock"
    path.touch()
    path.chmod(0o600)
    said = as_nobody(lambda: try_lock(path))
    assert said.startswith(f"LeaseError: {path} cannot be opened: a file of 0 bytes, mode 0600, that belongs to root")
    path.chmod(0o644)  # made by a process that died before it could open the file to others
    assert as_nobody(lambda: try_lock(path) is not None) == "True"


def test_a_lock_file_that_is_removed_while_it_is_opened_is_not_the_one_that_is_locked(tmp_path, monkeypatch):
    path = tmp_path / "pgolf-cpu-0.lock"
    flock, removed = fcntl.flock, []

    def remove_before(descriptor: int, how: int) -> None:
        if not removed:
            removed.append(path.unlink())
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_before)
    descriptor = try_lock(path)
    assert os.path.samestat(os.fstat(descriptor), path.stat())
    assert try_lock(path) is None
    os.close(descriptor)


def test_a_word_that_names_another_process_is_not_believed(tmp_path):
    path = tmp_path / "pgolf-cpu-0.lock"
    descriptor = try_lock(path)
    leave_word(descriptor)
    said = json.loads(path.read_bytes())
    assert said["pid"] == os.getpid()
    path.write_text(json.dumps(said | {"pid": os.getppid(), "user": "somebody"}))
    assert holder_of(path).startswith(f"pid {os.getpid()} of ")
    assert "somebody" not in holder_of(path)
    os.close(descriptor)


@pytest.mark.parametrize("word", [b"", b"[1]", b"[" * 1500, b"\xff", b'{"pid": 1}', b'{"host": 1, "pid": []}'])
def test_a_word_that_says_nothing_leaves_the_kernels_account(tmp_path, word):
    path = tmp_path / "pgolf-cpu-0.lock"
    descriptor = try_lock(path)
    path.write_bytes(word)
    assert holder_of(path).startswith(f"pid {os.getpid()} of ")
    os.close(descriptor)


def test_what_others_write_reaches_no_terminal_as_control_characters(tmp_path, monkeypatch):
    from pgolf.machine import lock_file

    path = tmp_path / "pgolf-cpu-0.lock"
    descriptor = try_lock(path)
    leave_word(descriptor)
    said = json.loads(path.read_bytes())
    path.write_text(json.dumps(said | {"host": "else\x1b[2Jwhere", "command": "\n" * 500, "user": "é"}))
    monkeypatch.setattr(lock_file, "_locking_pid", lambda _path: None)  # as in another pid namespace
    told = holder_of(path)
    assert told.isprintable()
    assert told.isascii()
    assert "by its own account" in told
    assert len(told) < 300
    os.close(descriptor)


def test_a_child_that_kept_the_lock_is_told_from_its_parent_that_has_ended(tmp_path):
    program = (
        "import subprocess, sys; from pathlib import Path; from pgolf.machine.lease import lease\n"
        "with lease(Path(sys.argv[1]), ['gpu-1'], 1, log_line=print) as held:\n"
        "    child = subprocess.Popen(['sleep', '60'], pass_fds=held.descriptors, stdout=-3, stderr=-3)\n"
        "    print(child.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        (said,) = leased(tmp_path).values()
        assert "has left behind" in said
        assert f"fuser -v {tmp_path / 'pgolf-gpu-1.lock'}" in said
    finally:
        os.kill(int(done.stdout), 9)


def failing_open(monkeypatch, code: int, flags: int) -> None:
    """Opening with these flags fails, as on another file system."""
    really = os.open

    def fail(path, given, *mode, **more):
        if given & flags == flags:
            raise OSError(code, os.strerror(code), str(path))
        return really(path, given, *mode, **more)

    monkeypatch.setattr(os, "open", fail)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "have root free room or inodes there (`df -h {0}; df -i {0}`)"),
        (errno.EROFS, "have root mount {0} writable"),
        (errno.EACCES, "have root let all users make files there (`chmod 1777 {0}`)"),
        (errno.EIO, "see what lies there (`ls -la {0}`)"),
    ],
)
def test_a_file_that_cannot_be_made_is_not_to_be_removed(tmp_path, monkeypatch, code, remedy):
    failing_open(monkeypatch, code, os.O_CREAT)
    with pytest.raises(LeaseError) as refusal:
        try_lock(tmp_path / "pgolf-cpu-0.lock")
    said = str(refusal.value)
    assert (
        f"pgolf-cpu-0.lock cannot be made: {os.strerror(code)}; {remedy.format(tmp_path)}, or set PGOLF_LEASES" in said
    )
    assert "rm -r" not in said


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.EROFS])
def test_a_file_that_cannot_be_changed_can_be_locked_all_the_same(tmp_path, monkeypatch, code):
    """As after `chattr +i`, `chattr +a`, and on a disk that may only be read."""

    def refuse(*_given):
        raise OSError(code, os.strerror(code))

    path = tmp_path / "pgolf-cpu-0.lock"
    path.touch()
    path.chmod(0o644)
    failing_open(monkeypatch, code, os.O_RDWR)
    monkeypatch.setattr(os, "fchmod", refuse)
    descriptor = try_lock(path)
    assert descriptor is not None
    assert try_lock(path) is None
    os.close(descriptor)


def test_a_folder_that_nobody_may_enter_is_named_with_its_remedy(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "lstat", refuse)  # root may enter any
    monkeypatch.setattr("pgolf.machine.lock_file._READY_WITHIN_S", 0.0)
    with pytest.raises(LeaseError, match=r"cannot be reached: Permission denied; have root .*chmod 1777"):
        try_lock(tmp_path / "pgolf-cpu-0.lock")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_with_the_file_and_what_to_do(tmp_path, monkeypatch, code):
    def refuse(*_given):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "pgolf-cpu-0.lock"
    with pytest.raises(MachineError) as refusal:
        try_lock(path)
    assert str(refusal.value).startswith(f"{path} cannot be locked: its file system has no locks (flock: ")
    assert "mount it with them (Lustre: -o flock" in str(refusal.value)


def test_what_else_a_lock_meets_names_the_file(tmp_path, monkeypatch):
    def refuse(*_given):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output error") as failure:
        try_lock(tmp_path / "pgolf-cpu-0.lock")
    assert failure.value.filename == str(tmp_path / "pgolf-cpu-0.lock")


@pytest.mark.parametrize(("kind", "said"), [("lock", "is held by"), ("turn", "is to be the next of")])
def test_who_shares_a_lock_is_named_to_those_that_wait(tmp_path, kind, said):
    """`flock -s FILE` by hand, which keeps every lease away."""
    path = tmp_path / f"pgolf-cpu-0.{kind}"
    path.touch()
    with subprocess.Popen(["flock", "-s", path, "sh", "-c", "echo held; read line"], stdin=-1, stdout=-1) as other:
        other.stdout.readline()

        class Told(Exception):
            pass

        def tell(line: str) -> None:
            raise Told(line)

        with (
            pytest.raises(Told, match=rf"cpu-0 {said} pid \d+ of .*flock"),
            lease(tmp_path, ["cpu-0"], 1, log_line=tell),
        ):
            pass
        other.stdin.close()
