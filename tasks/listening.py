"""Where a task reports its progress: its Prefect log, and the command line's console where there is one."""

import logging
import time
from contextvars import ContextVar
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pgolf.pipeline.graph import Node
from pgolf.pipeline.listen import Listener, Silence
from pgolf.run_options import Progress
from pgolf.store.artifact import Artifact

# Prefect copies the context of the flow into each task's thread, so a listener set by the caller is heard by all.
LISTENER: ContextVar[Listener] = ContextVar("LISTENER", default=Silence())  # noqa: B039
UPDATE_EVERY_S = 1.0


class TaskListener:
    """Forwards to the console and writes to the task run's log; optionally keeps a progress artifact up to date."""

    def __init__(self, *, progress_key: str | None = None) -> None:
        self._log: logging.Logger | logging.LoggerAdapter[logging.Logger] = get_run_logger()
        self._console = LISTENER.get()
        self._progress_key = progress_key
        self._progress_id: UUID | None = None
        self._updated = 0.0

    def waiting(self, node: Node, what: str) -> None:
        """Log and forward."""
        self._log.info("%s: %s", node.name, what)
        self._console.waiting(node, what)

    def building(self, node: Node) -> None:
        """Log, open the progress artifact, forward."""
        self._log.info("%s: building", node.name)
        self._console.building(node)
        if self._progress_key:
            created = create_progress_artifact(progress=0.0, key=self._progress_key, description=node.name)
            self._progress_id = created if isinstance(created, UUID) else None

    def progress(self, node: Node, progress: Progress) -> None:
        """Forward, and update the progress artifact at most once a second and at the end."""
        self._console.progress(node, progress)
        due = time.monotonic() - self._updated >= UPDATE_EVERY_S or progress.done == progress.total
        if self._progress_id is not None and due:
            self._updated = time.monotonic()
            facts = ", ".join(f"{name} {value:.4g}" for name, value in progress.facts.items() if _is_number(value))
            update_progress_artifact(
                self._progress_id,
                progress=100.0 * progress.done / max(progress.total, 1),
                description=f"{node.name}: {progress.unit} {progress.done:,} of {progress.total:,} {facts}".strip(),
            )

    def line(self, node: Node, text: str) -> None:
        """A line of the training process, into the task run's log."""
        self._log.info("%s", text)
        self._console.line(node, text)

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """Log and forward."""
        self._log.info("%s: %s %s", node.name, "built" if built else "reused", artifact.path.name)
        self._console.done(node, artifact, built=built)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
