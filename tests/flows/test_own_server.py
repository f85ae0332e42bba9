"""Prefect's own server as a process of ours that does not come up: said in one line, with what to do."""

import os

import pytest

from flows.own_server import API_URL, own_server
from flows.settings import STARTUP
from pgolf.errors import ConfigError

pytestmark = pytest.mark.exec


def with_interpreter(tmp_path, monkeypatch, script):
    """As if Python were this shell script."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))


def test_one_that_ends_at_its_start_is_told_with_its_last_words(tmp_path, monkeypatch):
    with_interpreter(tmp_path, monkeypatch, "echo 'no such database' >&2; exit 3")
    with own_server() as server, pytest.raises(ConfigError, match=r"ended at its start: no such database; correct"):
        server.wait()


def test_one_that_takes_too_long_is_told_with_the_setting(tmp_path, monkeypatch):
    with_interpreter(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setenv(STARTUP, "0.3")
    with (
        own_server() as server,
        pytest.raises(ConfigError, match=rf"did not start within 0.3 s; .*longer \({STARTUP}\)"),
    ):
        server.wait()


def test_the_address_is_set_for_as_long_as_the_server_is_there(tmp_path, monkeypatch):
    monkeypatch.delenv(API_URL, raising=False)
    with_interpreter(tmp_path, monkeypatch, "exec sleep 60")
    with own_server() as server:
        assert os.environ[API_URL] == server.url
    assert API_URL not in os.environ
