"""The events of a run (building, progress, done), and who receives them: a console, a log, or nobody."""

import threading
import time
from typing import Protocol

from pgolf.errors import Stopped
from pgolf.pipeline.graph import Node
from pgolf.run_options import Progress
from pgolf.store.artifact import Artifact


class Listener(Protocol):
    """Hears about nodes from several threads at once. Only `building` may raise, to keep a stage from beginning."""

    def waiting(self, node: Node, what: str) -> None:
        """We wait, for another process that builds this output or for devices; `what` says so."""

    def building(self, node: Node) -> None:
        """The stage begins to run."""

    def progress(self, node: Node, progress: Progress) -> None:
        """The stage reports how far it is."""

    def line(self, node: Node, text: str) -> None:
        """A line of a child process's log."""

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """The output is there: built now, or reused."""


class Ledger:
    """Keeps account of what was built and when, and passes everything on to another listener."""

    def __init__(self, inner: Listener) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._started: dict[str, float] = {}
        self._spans: list[tuple[float, float]] = []
        self.built: dict[str, float] = {}
        self.heard: set[str] = set()

    def waiting(self, node: Node, what: str) -> None:
        """Passed on."""
        self._inner.waiting(node, what)

    def building(self, node: Node) -> None:
        """Remembered with the time, and passed on. Raises Stopped after `stop`."""
        if self._stopped.is_set():
            raise Stopped(f"{node.name} was not started: the run is being ended")
        with self._lock:
            self._started[node.name] = time.perf_counter()
        self._inner.building(node)

    def progress(self, node: Node, progress: Progress) -> None:
        """Passed on."""
        self._inner.progress(node, progress)

    def line(self, node: Node, text: str) -> None:
        """Passed on."""
        self._inner.line(node, text)

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """Entered, and passed on."""
        with self._lock:
            self.heard.add(node.name)
            if built:
                end = time.perf_counter()
                self._spans.append((self._started.get(node.name, end), end))
                self.built[node.name] = artifact.record.wall_s
        self._inner.done(node, artifact, built=built)

    def stop(self) -> None:
        """Let no further stage begin."""
        self._stopped.set()

    def building_s(self) -> float:
        """Seconds during which at least one stage was being built."""
        total, end = 0.0, float("-inf")
        for start, stop in sorted(self._spans):
            total += max(0.0, stop - max(start, end))
            end = max(end, stop)
        return total


class Both:
    """Tells the first listener, then the second."""

    def __init__(self, first: Listener, second: Listener) -> None:
        self._first, self._second = first, second

    def waiting(self, node: Node, what: str) -> None:
        """Passed on."""
        self._first.waiting(node, what)
        self._second.waiting(node, what)

    def building(self, node: Node) -> None:
        """Passed on; where the first raises, the second does not hear of it."""
        self._first.building(node)
        self._second.building(node)

    def progress(self, node: Node, progress: Progress) -> None:
        """Passed on."""
        self._first.progress(node, progress)
        self._second.progress(node, progress)

    def line(self, node: Node, text: str) -> None:
        """Passed on."""
        self._first.line(node, text)
        self._second.line(node, text)

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """Passed on."""
        self._first.done(node, artifact, built=built)
        self._second.done(node, artifact, built=built)


class Silence:
    """A listener that ignores everything."""

    def waiting(self, node: Node, what: str) -> None:
        """Ignored."""

    def building(self, node: Node) -> None:
        """Ignored."""

    def progress(self, node: Node, progress: Progress) -> None:
        """Ignored."""

    def line(self, node: Node, text: str) -> None:
        """Ignored."""

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """Ignored."""
