"""An error that says only that something failed is told as what the machine lacks, with the limit and its remedy."""

import errno
import os
import resource
import sqlite3
from contextlib import contextmanager

import numpy as np
import pytest

from pgolf.machine import lack
from pgolf.machine.lack import full_disk, lack_of, limits_in_force, no_space


@contextmanager
def limited(number: int, soft: int):
    before = resource.getrlimit(number)
    resource.setrlimit(number, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(number, before)


def test_too_many_open_files_names_the_limit(tmp_path):
    held: list[int] = []

    def open_all() -> None:
        while len(held) <= most:
            held.append(os.open(tmp_path, os.O_RDONLY))

    most = max(map(int, os.listdir("/proc/self/fd"))) + 4  # whatever other tests have left open
    try:
        with limited(resource.RLIMIT_NOFILE, most):
            with pytest.raises(OSError, match="Too many open files") as raised:
                open_all()
            said = lack_of(raised.value)
            assert f"ulimit -n allows {most} open files" in limits_in_force()
    finally:
        for descriptor in held:
            os.close(descriptor)
    assert f"(ulimit -n: {most} files): `ulimit -n " in said


def test_a_file_that_may_not_grow_names_the_limit(tmp_path):
    with limited(resource.RLIMIT_FSIZE, 4096):
        with pytest.raises(OSError, match="File too large") as raised:
            (tmp_path / "file").write_bytes(bytes(5000))
        said = lack_of(raised.value)
        assert "ulimit -f allows 4,096 bytes per file" in limits_in_force()
    assert "(ulimit -f: 4,096 bytes): `ulimit -f " in said
    assert limits_in_force() == ""


def test_memory_that_may_not_be_taken_names_the_limit_or_the_machine():
    def ask() -> str | None:
        with pytest.raises(MemoryError) as raised:
            np.zeros(1 << 45, np.uint8)
        return lack_of(raised.value)

    assert "this machine has not enough memory: Unable to allocate 32.0 TiB" in ask()
    with limited(resource.RLIMIT_AS, 1 << 44):
        assert "(ulimit -v: 17,592,186,044,416 bytes): `ulimit -v " in ask()
    with limited(resource.RLIMIT_DATA, 1 << 44):
        assert "(ulimit -d: 17,592,186,044,416 bytes): `ulimit -d " in ask()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        ImportError("libarrow.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_memory_is_known_by_every_librarys_words(error):
    assert "memory" in lack_of(error) or "threads would run than this user may have" in lack_of(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_a_full_disk_is_known_by_every_librarys_words_and_named_with_what_is_free(tmp_path, monkeypatch, error):
    assert no_space(error)
    assert "so that a quota may be used up" in lack_of(error, [tmp_path])
    monkeypatch.setattr(lack, "_free_bytes", lambda folder: 12_345 if folder == tmp_path else 10**9)
    assert f"no space left in {tmp_path} (12,345 bytes free)" in lack_of(error, [tmp_path / "new"])
    error.filename = "/dev/shm/x"
    assert "no space left in /dev/shm (1,000,000,000 bytes free" in lack_of(error, [tmp_path])
    error.filename2 = str(tmp_path / "copy")
    assert f"no space left in {tmp_path} (12,345 bytes free)" in lack_of(error)
    assert "12,345 bytes free" in full_disk([tmp_path, tmp_path / "a", tmp_path.parent])


def test_what_an_error_was_raised_from_is_looked_at_and_others_lack_nothing():
    cause = OSError(errno.EFBIG, "File too large")
    error = ValueError("the table could not be written")
    error.__cause__ = cause
    assert "larger than this process may write" in lack_of(error)
    cause.__context__ = error  # a ring
    assert "larger" in lack_of(error)
    for other in (ValueError("no"), OSError(errno.ENOENT, "No such file"), KeyError("memory")):
        assert lack_of(other) is None
