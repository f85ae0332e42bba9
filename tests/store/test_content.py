"""A remembered digest is the file's: whatever its clock's grain, whoever writes to it and however it is named."""

import hashlib
import mmap
import os
import subprocess
import time
from pathlib import Path

import pytest

from pgolf.pipeline.graph import External, content_digest
from pgolf.store import content
from pgolf.store.content import SETTLED_NS, Memo, combined

WRITES = 5


@pytest.fixture
def later(monkeypatch):
    """A minute has passed since the last change of every file."""
    now_ns = time.time_ns
    monkeypatch.setattr(content.time, "time_ns", lambda: now_ns() + SETTLED_NS + 10**9)
    return monkeypatch


@pytest.fixture
def hashed(monkeypatch) -> list[bytes]:
    """The first bytes of every file that was read whole."""
    found: list[bytes] = []
    digest = content._sha256

    def watched(file):
        value = digest(file)
        file.seek(0)
        found.append(file.read(8))
        return value

    monkeypatch.setattr(content, "_sha256", watched)
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_settled_file_is_read_once_and_a_touched_one_again(tmp_path, later, hashed):
    path, memo = tmp_path / "big.bin", Memo(tmp_path / "memo.sqlite")
    path.write_bytes(b"x")
    assert memo.unread_bytes(path) == 1
    assert memo.sha256(path) == memo.sha256(path) == sha256(path)
    assert memo.unread_bytes(path) == 0
    memo.save()
    assert Memo(tmp_path / "memo.sqlite").sha256(path) == sha256(path)
    assert hashed == [b"x"]
    path.write_bytes(b"y")
    assert memo.sha256(path) == sha256(path)
    assert hashed == [b"x", b"y"]


def write_within_a_second(path: Path, memo: Memo) -> int:
    """Of how many pairs of writes within one second the second was not seen."""
    stale = 0
    for _ in range(WRITES):
        time.sleep(1 - time.time() % 1 + 0.02)
        for text in (b"AAAA", b"BBBB"):
            path.write_bytes(text)
            stale += memo.sha256(path) != sha256(path)
            time.sleep(0.15)  # longer than the least age that files of fine clocks would need
    return stale


def test_two_writes_within_a_tick_of_a_clock_of_whole_seconds_are_told_apart(tmp_path):
    """On ext4 with inodes of 128 bytes, which have no room for parts of seconds."""
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(4 << 20)
    for command in (("mkfs.ext4", "-q", "-I", "128", str(image)), ("mount", "-o", "loop", str(image), str(folder))):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is not installed")
        if done.returncode:
            pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
    try:
        (folder / "x").write_bytes(b"")
        assert os.stat(folder / "x").st_mtime_ns % 10**9 == 0
        assert write_within_a_second(folder / "x", Memo(tmp_path / "memo.sqlite")) == 0
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_no_grain_of_a_clock_up_to_seconds_hides_a_write(tmp_path, monkeypatch):
    exact = content.signature

    def coarse(path):
        size, mtime, ctime, inode = exact(path)
        return size, mtime // (2 * 10**9) * (2 * 10**9), ctime // (2 * 10**9) * (2 * 10**9), inode

    monkeypatch.setattr(content, "signature", coarse)
    path, memo = tmp_path / "x", Memo(tmp_path / "memo.sqlite")
    for number in range(20):
        path.write_text(f"{number:4}")
        assert memo.sha256(path) == sha256(path)


@pytest.mark.parametrize("place", ["a disk", "/dev/shm"])
def test_a_store_through_a_mapping_is_seen(tmp_path, later, place):
    """A page that is dirty takes further stores without a change of the file's times."""
    path = tmp_path / "x" if place == "a disk" else Path(place, f"pgolf-{os.getpid()}")
    memo = Memo(tmp_path / "memo.sqlite")
    try:
        path.write_bytes(b"a" * mmap.PAGESIZE)
    except OSError:
        pytest.skip(f"{place} cannot be written to here")
    try:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[0:1] = b"b"
            for letter in (b"c", b"d", b"e"):
                assert memo.sha256(path) == sha256(path)
                mapped[1:2] = letter
                assert memo.sha256(path) == sha256(path)
    finally:
        path.unlink()


def test_a_clock_that_was_set_back_has_files_read_again(tmp_path, later, hashed):
    path, memo = tmp_path / "x", Memo(tmp_path / "memo.sqlite")
    path.write_bytes(b"x")
    memo.sha256(path)
    later.setattr(content.time, "time_ns", lambda: path.stat().st_mtime_ns)
    assert memo.unread_bytes(path) == 1
    memo.sha256(path)
    assert hashed == [b"x", b"x"]


def test_a_file_from_the_future_is_read_every_time(tmp_path):
    path, memo = tmp_path / "x", Memo(tmp_path / "memo.sqlite")
    path.write_bytes(b"x")
    os.utime(path, (time.time() + 10**6, time.time() + 10**6))
    memo.sha256(path)
    assert memo.unread_bytes(path) == 1


def test_a_file_of_the_store_is_remembered_at_once(tmp_path):
    path, memo = tmp_path / "x", Memo(tmp_path / "memo.sqlite")
    path.write_bytes(b"x")
    path.chmod(0o444)
    assert memo.sha256_in_store(path, "toy-1/x") == sha256(path)
    assert memo.unread_in_store_bytes(path, "toy-1/x") == 0


def test_names_need_not_be_utf_8(tmp_path, later):
    folder = tmp_path / "d"
    folder.mkdir()
    for name in (b"caf\xe9.jsonl", "café.jsonl".encode(), b"line\nbreak.jsonl"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(name)
    memo = Memo(tmp_path / "memo.sqlite")
    first = content_digest(External(folder, "documents"), memo)
    memo.save()
    again = Memo(tmp_path / "memo.sqlite")
    assert content_digest(External(folder, "documents"), again) == first
    assert [again.unread_bytes(path) for path in folder.iterdir()] == [0, 0, 0]
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.jsonl"), "ab") as file:
        file.write(b"more")
    assert content_digest(External(folder, "documents"), again) != first


def test_names_that_are_utf_8_give_the_digests_that_they_always_gave():
    assert combined([("café", "1"), ("a", "2")]) == hashlib.sha256("a\0002\ncafé\0001\n".encode()).hexdigest()


def test_a_broken_memo_costs_time_only(tmp_path):
    (tmp_path / "memo.sqlite").write_text('{"a": 3')
    path = tmp_path / "a"
    path.write_text("a")
    assert Memo(tmp_path / "memo.sqlite").sha256(path).startswith("ca978112")
