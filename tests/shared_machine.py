"""A machine of its own before a shared store: a process with a host name, a way to the service and caches of its own.

It reads commands (JSON, one a line) and answers each with what its calls came to. Its clients' pauses before another
try are shortened, so that thousands of faults take minutes: the number of tries is the product's.
"""

import json
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.object_service import Service

PAUSE = 0.02  # of the pauses of botocore and s3fs
_LOCKS = "locks/"


@dataclass
class Holding:
    """A lock of an output that a machine held, in seconds of the system's monotonic clock.

    began_s: the first try to write it; from_s to until_s: held. written_s: begin and end of the writes that it knows
    to have succeeded.
    """

    folder: str
    began_s: float
    from_s: float = 0.0
    until_s: float = 0.0
    written_s: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Answer:
    """What the call for one output came to: "built", "reused", "told" (an error of ours) or "bug".

    said: the message or stack trace. files: name to SHA-256, read from the cache afterwards. took_s: wall time.
    """

    seed: int
    folder: str
    came_to: str
    said: str = ""
    files: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0


@dataclass
class Report:
    """Of one command."""

    answers: list[Answer]
    holdings: list[Holding]


class Machine:
    """Such a process, as its parent sees it."""

    def __init__(self, host: str, service: Service, port: int) -> None:
        environment = {**os.environ, **service.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.shared_machine", host],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(self, url: str, cache: Path, seeds: list[int], *, lease_s: float) -> None:
        """Begin to build the outputs of the seeds, in this order, with a new view of the store."""
        assert self._process.stdin is not None
        print(json.dumps([url, str(cache), seeds, lease_s]), file=self._process.stdin, flush=True)

    def report(self) -> Report:
        """What the calls came to; waits for their end."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the machine has died"
        answers, holdings = json.loads(line)
        return Report([Answer(**answer) for answer in answers], [Holding(**holding) for holding in holdings])

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def main(host: str) -> None:
    """Answer commands until the input ends."""
    socket.gethostname = lambda: host  # type: ignore[assignment]
    answers, sys.stdout = sys.stdout, sys.stderr
    _hurry()
    client: list[Any] = []
    for line in sys.stdin:
        url, cache, seeds, lease_s = json.loads(line)
        print(json.dumps(_build(url, Path(cache), seeds, lease_s, client)), file=answers, flush=True)


def _hurry() -> None:
    import asyncio

    import aiobotocore.endpoint
    import s3fs.core

    class Hurried:
        """asyncio, with short pauses."""

        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

        @staticmethod
        async def sleep(pause_s: float) -> None:
            await asyncio.sleep(pause_s * PAUSE)

    aiobotocore.endpoint.asyncio = Hurried()
    s3fs.core.asyncio = Hurried()


def _build(url: str, cache: Path, seeds: list[int], lease_s: float, client: list[Any]) -> Any:
    from pgolf.errors import PgolfError
    from pgolf.run_options import RunOptions
    from pgolf.store.artifact import build_once
    from pgolf.store.remote import Remote
    from pgolf.store.shared import _PINNED, SharedStore
    from tests.toy_stage import TOY, ToyConfig, toy_key

    holdings: list[Holding] = []

    class RecordedRemote(Remote):
        def write(self, name: str, content: bytes, **how: Any) -> str:
            began_s = time.monotonic()
            ours = [one for one in holdings if name == f"{_LOCKS}{one.folder}.json" and not one.until_s]
            for holding in ours:
                holding.began_s = holding.began_s or began_s
            etag = super().write(name, content, **how)
            for holding in ours:
                holding.written_s.append((began_s, time.monotonic()))
            return etag

    class RecordedStore(SharedStore):
        @contextmanager
        def lock(self, key: Any, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
            holding = Holding(key.folder, 0.0)
            holdings.append(holding)
            try:
                with super().lock(key, on_wait):
                    holding.from_s = time.monotonic()
                    try:
                        yield
                    finally:
                        holding.until_s = time.monotonic()
            finally:
                holding.until_s = holding.until_s or time.monotonic()

    answers = []
    remote = RecordedRemote(url)
    # One client and its connections for all commands: to make another takes longer than most of them.
    client[:] = client or [remote._files]
    remote._files = client[0]
    store = RecordedStore(remote, cache, lease_s=lease_s)
    for seed in seeds:
        key = toy_key(ToyConfig(text=f"text {seed}", repeat=2), seed=seed, dawdle_s=0.02)
        answer, began_s = Answer(seed, key.folder, "bug"), time.monotonic()
        try:
            artifact, built = build_once(store, TOY, key, node="toy", inputs={}, parents={}, run=RunOptions())
            answer.came_to = "built" if built else "reused"
            answer.files = {
                name: sha256((artifact.path / name).read_bytes()).hexdigest() for name in artifact.record.files
            }
        except PgolfError as error:
            answer.came_to, answer.said = "told", str(error)
        except Exception:
            answer.said = traceback.format_exc()
        answer.took_s = time.monotonic() - began_s
        answers.append(answer)
    for descriptor in _PINNED.values():
        os.close(descriptor)
    _PINNED.clear()
    return [asdict(answer) for answer in answers], [asdict(one) for one in holdings if one.from_s]


if __name__ == "__main__":
    main(sys.argv[1])
