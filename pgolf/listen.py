"""What a running pipeline tells whoever watches: a console, a log, or nobody."""

from typing import Protocol

from pgolf.artifact import Artifact
from pgolf.pipeline import Node
from pgolf.run import Progress


class Listener(Protocol):
    """Hears about nodes from several threads at once; must not raise."""

    def waiting(self, node: Node) -> None:
        """Another process builds this output; we wait for it."""

    def building(self, node: Node) -> None:
        """The stage begins to run."""

    def progress(self, node: Node, progress: Progress) -> None:
        """The stage reports how far it is."""

    def line(self, node: Node, text: str) -> None:
        """A line of a child process's log."""

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """The output is there: built now, or reused."""


class Silence:
    """A listener that ignores everything."""

    def waiting(self, node: Node) -> None:
        """Ignored."""

    def building(self, node: Node) -> None:
        """Ignored."""

    def progress(self, node: Node, progress: Progress) -> None:
        """Ignored."""

    def line(self, node: Node, text: str) -> None:
        """Ignored."""

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """Ignored."""
