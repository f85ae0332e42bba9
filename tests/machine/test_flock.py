"""A file system without locks, met by commands: one line that names the file and what to do."""

import errno
import fcntl
import os

import pytest

from flows.commands.cli import main


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
@pytest.mark.parametrize(
    "command",
    [
        ["gc", "--delete", "--without-results"],
        ["tokenize"],
        ["run", "demo", "--no-prefect", "--results", "results"],
    ],
)
def test_a_store_without_locks_is_said_with_its_lock(tmp_path, monkeypatch, capsys, command, code):
    def refuse(*_given):
        raise OSError(code, os.strerror(code))

    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert main([*command, "--store", "store"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(
        f"MachineError: {tmp_path}/store/.locks/store cannot be locked: its file system has no locks"
    )
    assert "choose a folder on another one (--store" in said
