"""A proxy before an object service that loses, cuts, delays, doubles and refuses, as a plan says.

One proxy is one machine's way to the service. Requests are numbered as they come; a client's retry is another request.
The service does one write at a time: moto looks at a condition and writes without a lock in between, which S3 does not.
"""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_WRITES = threading.Lock()
_REFUSAL = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>'


class Fault(StrEnum):
    """What happens to a request."""

    ANSWER_LOST = "answer lost"  # the service did it
    ANSWER_CUT = "answer cut"  # in the middle of its body
    ANSWER_LATE = "answer late"
    REQUEST_LOST = "request lost"
    REQUEST_LATE = "request late"  # the client has given it up, and may have sent another, when it arrives
    DOUBLED = "doubled"  # the client gets the second answer
    SLOW_DOWN = "503 SlowDown"
    FAILED = "500 InternalError"
    CONFLICT = "409 Conflict"  # of a conditional write, as S3 answers while another writes; else no fault


@dataclass(frozen=True, slots=True)
class Request:
    """number: from 0 on. conditional: a write with If-Match or If-None-Match."""

    number: int
    method: str
    path: str
    conditional: bool


Plan = Callable[[Request], Fault | None]


def undisturbed(_request: Request) -> Fault | None:
    """No faults."""
    return None


def at(number: int, fault: Fault, *, requests: int = 1) -> Plan:
    """This fault of that many requests from one number on."""
    return lambda request: fault if number <= request.number < number + requests else None


def seeded(seed: str, *, share: float, outages: float = 0.0, outage_requests: int = 12) -> Plan:
    """Each request fails with probability `share`; with probability `outages` begins an outage of so many requests."""
    draw, outage = random.Random(seed), [-1, Fault.FAILED]
    kinds, lock = tuple(Fault), threading.Lock()

    def plan(request: Request) -> Fault | None:
        with lock:
            if request.number <= outage[0]:
                return Fault(outage[1])
            if draw.random() < outages:
                outage[:] = [request.number + outage_requests, draw.choice(kinds)]
            return draw.choice(kinds) if draw.random() < share else None

    return plan


class FaultyService:
    """The proxy, running inside the block. late_s: how late what is late is; faults: how many of each there were."""

    def __init__(self, service_port: int, *, late_s: float = 0.2) -> None:
        self._service_port, self.late_s = service_port, late_s
        self.plan: Plan = undisturbed
        self.requests: list[Request] = []
        self.faults: Counter[Fault] = Counter()
        self._lock = threading.Lock()
        self._late: list[threading.Thread] = []
        outer = self

        class Handler(_Connection):
            faulty = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> "FaultyService":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.settle()
        self._server.shutdown()
        self._server.server_close()

    def follow(self, plan: Plan) -> None:
        """Follow a plan from now on; the next request has number 0."""
        with self._lock:
            self.plan, self.requests = plan, []

    def settle(self) -> None:
        """Wait for the requests that arrive late."""
        with self._lock:
            late, self._late = self._late, []
        for thread in late:
            thread.join()

    def fault_of(self, method: str, path: str, conditional: bool) -> Fault | None:
        """Number a request, and ask the plan."""
        with self._lock:
            request = Request(len(self.requests), method, path, conditional)
            self.requests.append(request)
            fault = self.plan(request)
            if fault is Fault.CONFLICT and not conditional:
                fault = None
            if fault is not None:
                self.faults[fault] += 1
            return fault

    def forward(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """The service's answer: status, headers, body."""
        service = http.client.HTTPConnection("127.0.0.1", self._service_port)
        try:
            with _WRITES:
                service.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
                for name, value in headers.items():
                    if name.lower() not in ("connection", "expect"):
                        service.putheader(name, value)
                service.putheader("Connection", "close")
                service.endheaders(body)
                answer = service.getresponse()
                return answer.status, answer.getheaders(), answer.read()
        finally:
            service.close()

    def forward_late(self, *request: Any) -> None:
        """Let a request arrive after a while; nobody hears of the answer."""

        def send() -> None:
            time.sleep(self.late_s)
            self.forward(*request)

        thread = threading.Thread(target=send, daemon=True)
        with self._lock:
            self._late.append(thread)
            thread.start()


class _Connection(BaseHTTPRequestHandler):
    """A client's connection."""

    faulty: FaultyService
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        assert "Transfer-Encoding" not in self.headers, "a body without a length"
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = (self.command, self.path, self.headers, body)
        conditional = self.command == "PUT" and ("If-Match" in self.headers or "If-None-Match" in self.headers)
        match fault := self.faulty.fault_of(self.command, self.path, conditional):
            case Fault.REQUEST_LOST:
                self._hang_up()
            case Fault.REQUEST_LATE:
                self.faulty.forward_late(*request)
                self._hang_up()
            case Fault.ANSWER_LOST:
                self.faulty.forward(*request)
                self._hang_up()
            case Fault.SLOW_DOWN | Fault.FAILED | Fault.CONFLICT:
                status, _, code = fault.partition(" ")
                code = "ConditionalRequestConflict" if code == "Conflict" else code
                refusal = _REFUSAL.format(code=code).encode()
                self._answer(int(status), [("Content-Length", str(len(refusal)))], refusal)
            case _:
                if fault is Fault.DOUBLED:
                    self.faulty.forward(*request)
                status, headers, content = self.faulty.forward(*request)
                if fault is Fault.ANSWER_LATE:
                    time.sleep(self.faulty.late_s)
                cut = fault is Fault.ANSWER_CUT
                self._answer(status, headers, content[: len(content) // 2] if cut else content)
                if cut:
                    self._hang_up()

    def handle_expect_100(self) -> bool:
        """Ask for the body now: the client waits for that."""
        go_on = super().handle_expect_100()
        self.wfile.flush()
        return go_on

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


for _method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(_Connection, f"do_{_method}", _Connection._serve)
