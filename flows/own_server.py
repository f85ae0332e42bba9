"""Prefect's own server for one run: a process of ours that starts at once, in a session of its own, and ends with us.

Prefect itself would import the whole server into this process as well, and start it only then. And its server would
share a terminal's process group with us: Ctrl-C would end it before the run can report its end, and all that still
writes to it would fail at length. The socket listens from the first moment, so that a first question waits until the
server answers, and no port is taken twice.

`python -m flows.own_server PID DESCRIPTOR` is that process: PID is ours, DESCRIPTOR the socket.
"""

import gc
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from flows.settings import SETTINGS, STARTUP, prefect_home
from flows.shutdown import give_up
from pgolf.errors import ConfigError
from pgolf.machine.parent_death import die_with_parent

API_URL = "PREFECT_API_URL"
# As Prefect starts its own; and kinds of blocks are for the pages of a server, which this one has not: a second of CPU.
_ENVIRONMENT = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
}
_END_WITHIN_S = 5.0


class OwnServer:
    """The server of this process, from its start on."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, said: IO[bytes]) -> None:
        self._process, self._port, self._said = process, port, said
        self._ends = False
        self.url = f"http://127.0.0.1:{port}/api"

    def wait(self) -> None:
        """Return once it answers. Raises ConfigError with what it said last where it does not."""
        limit_s = float(os.environ.get(STARTUP, SETTINGS[STARTUP]))
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=limit_s)
        try:
            connection.request("GET", "/api/health")
            answers = connection.getresponse().status == http.client.OK
        except TimeoutError:
            raise ConfigError(
                f"Prefect's own server did not start within {limit_s:g} s; see whether {prefect_home()} can be "
                f"written to, give it longer ({STARTUP}), or add --no-prefect"
            ) from None
        except (OSError, http.client.HTTPException):
            answers = False
        finally:
            connection.close()
        if not answers:
            raise ConfigError(
                f"Prefect's own server, with its database in {prefect_home()}, ended at its start: {self._last_words()}"
                "; correct that, or add --no-prefect"
            )
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """End the run where its server ends before it: Prefect would ask for minutes whether it is back."""
        code = self._process.wait()
        if not self._ends:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
            give_up(f"Prefect's own server {how}, and the run with it; run it again, or add --no-prefect")

    def end(self) -> None:
        """Have it write what it still holds, and end."""
        self._ends = True
        self._process.terminate()
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_WITHIN_S)
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """A server that begins to start with the block, and ends with it; within, Prefect takes this process to it.

    To be entered before Prefect is imported, or in a program that has imported it already.
    """
    server = _started()
    os.environ[API_URL] = server.url
    try:
        with _known_to_prefect(server.url):
            yield server
    finally:
        os.environ.pop(API_URL, None)
        _send_what_waits()
        server.end()


@contextmanager
def _known_to_prefect(url: str) -> Iterator[None]:
    if "prefect.context" not in sys.modules:
        yield
        return
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        yield


@contextmanager
def without_heartbeats() -> Iterator[None]:
    """For a run on its own server, which nobody watches: Prefect would end it only once a heart has waited a second."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _send_what_waits() -> None:
    """Have Prefect send the events and log lines of this process that it has in its queues, and begin new ones later.

    At the end of the process, when it would do so itself, there is no server any more.
    """
    for module, queue in (("prefect.events.worker", "EventsWorker"), ("prefect.logging.handlers", "APILogWorker")):
        if module in sys.modules:
            getattr(sys.modules[module], queue).drain_all(timeout=_END_WITHIN_S)


def _started() -> OwnServer:
    environment = {name: value for name, value in os.environ.items() if name != API_URL} | _ENVIRONMENT
    said = tempfile.TemporaryFile()  # noqa: SIM115  for as long as the server is
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        descriptor = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(os.getpid()), str(descriptor)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment,
            pass_fds=(descriptor,),
            start_new_session=True,
        )
        return OwnServer(process, listening.getsockname()[1], said)


def _serve(parent_pid: int, descriptor: int) -> None:
    die_with_parent(parent_pid, signal.SIGTERM)
    gc.disable()  # what is imported stays: to look for garbage among it takes a tenth of the start
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app()
    gc.freeze()
    gc.enable()
    config = uvicorn.Config(app, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
