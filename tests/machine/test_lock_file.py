"""Lock files of all users of a machine: whatever lies in their place is refused, and who holds them is found out."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pgolf.errors import LeaseError
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
    from pgolf.machine import lock_file

    path = tmp_path / "pgolf-cpu-0.lock"
    flock, removed = lock_file.fcntl.flock, []

    def remove_before(descriptor: int, how: int) -> None:
        if not removed:
            removed.append(path.unlink())
        flock(descriptor, how)

    monkeypatch.setattr(lock_file.fcntl, "flock", remove_before)
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
