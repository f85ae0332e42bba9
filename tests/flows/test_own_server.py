"""Prefect's own server as a process of ours that does not come up: said in one line, with what to do."""

import os
import subprocess
import sys

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


# Takes the place of the server: answers every question with "ok" on the socket that it is given.
ANSWERS = """
import http.server, socket, sys
class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Ok, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[-1]))
server.serve_forever()
"""
# A run that would take a minute, whose server is killed after a moment; or that ends, and its server with it.
RUN = """
import os, signal, sys, time
python = sys.executable
sys.executable = sys.argv[1]
from flows.own_server import own_server
with own_server() as server:
    server.wait()
    if sys.argv[2] == "killed":
        os.kill(server._process.pid, signal.SIGKILL)
        time.sleep(60)
print("the run has ended")
"""


@pytest.mark.parametrize("end", ["killed", "with the run"])
def test_a_run_whose_server_is_gone_ends_with_it_and_one_that_ends_is_not_accused(tmp_path, end):
    (tmp_path / "answers.py").write_text(ANSWERS)
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "answers.py"} "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", RUN, str(program), end]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=50)
    if end == "killed":
        assert run.returncode == 1
        assert "Prefect's own server was ended by signal 9, and the run with it; run it again, or add" in run.stderr
        assert "finished stages are kept" in run.stderr
    else:
        assert (run.returncode, run.stdout, run.stderr) == (0, "the run has ended\n", "")
