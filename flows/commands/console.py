"""The progress of a run on stderr: one line per finished stage, and a bar for each that is working."""

import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.segment import Segment

from flows.commands.streams import plain, shortened
from flows.commands.summary import in_words, span, summary
from pgolf.pipeline.graph import Node
from pgolf.pipeline.pace import left_s
from pgolf.run_options import Progress
from pgolf.store.artifact import Artifact

LINE_EVERY_S = 10.0
MOST_CHARACTERS = 2000
_TOLD = ("elapsed_s",)


class PlainConsole(RichConsole):
    """As rich's, but what others have written moves no cursor: control characters in it are spelled out."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


class _Stderr(PlainConsole):
    """rich's own ends the process where nobody reads, and takes standard output with it."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Console:
    """A listener that prints. On a terminal it shows a bar per working stage; elsewhere a line every few seconds."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self._rich = _Stderr(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bars = Bars(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[unit]} {task.completed:,.0f} of {task.total:,.0f}  {task.fields[facts]}"),
            TimeRemainingColumn(),
            console=self._rich,
            transient=True,
            disable=not self._rich.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._reasons = reasons
        self._spoken: dict[str, float] = {}
        self._first: dict[str, tuple[float, int]] = {}  # when a stage first reported, and what it had done by then
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()

    def say(self, text: str) -> None:
        """One plain line."""
        with suppress(OSError):  # nobody reads, or the disk that it goes to is full: no reason to end a run
            self._rich.print(shortened(text, MOST_CHARACTERS), markup=False)

    def waiting(self, node: Node, what: str) -> None:
        """Say what we wait for."""
        self.say(f"… {node.name:<16} {what}")

    def building(self, node: Node) -> None:
        """Say why it runs."""
        reason = self._reasons.get(node.name)
        self.say(f"▸ {node.name:<16} {reason}" if reason else f"▸ {node.name}")

    def progress(self, node: Node, progress: Progress) -> None:
        """Move the stage's bar, or say a line now and then."""
        # How long it has been at it is its line's own affair, and what is done the bar's.
        facts = "  ".join(in_words(name, value) for name, value in progress.facts.items() if name not in _TOLD)
        if progress.note:
            self.say(f"  {node.name:<16} {progress.note}")
        if self._rich.is_terminal:
            with self._lock:
                if node.name not in self._tasks:
                    # What was done before, by a killed run, must not count for the speed.
                    self._tasks[node.name] = self._bars.add_task(
                        node.name, total=progress.total, completed=progress.done, unit=progress.unit, facts=""
                    )
                self._bars.update(self._tasks[node.name], completed=progress.done, unit=progress.unit, facts=facts)
            return
        now = time.monotonic()
        with self._lock:
            first_s, first_done = self._first.setdefault(node.name, (now, progress.done))
            due = now - self._spoken.setdefault(node.name, now) >= LINE_EVERY_S
            if due:
                self._spoken[node.name] = now
        if due:
            rest_s = left_s(now - first_s, progress.done - first_done, progress.total - progress.done)
            left = f"{span(rest_s)} left  " if rest_s else ""
            self.say(
                f"  {node.name:<16} {progress.unit} {progress.done:,} of {progress.total:,}  {left}{facts}".rstrip()
            )

    def line(self, node: Node, text: str) -> None:
        """Lines of child processes go to the log file and to Prefect, not to the terminal."""

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """The finished stage's line."""
        self.remove_bar(node)
        took = f"{artifact.record.wall_s:.1f} s" if built else "from artifacts"
        self.say(f"✓ {node.name:<16} {summary(artifact)}  {took}")

    def remove_bar(self, node: Node) -> None:
        """Take away the bar of a stage that is finished."""
        with self._lock:
            if node.name in self._tasks:
                self._bars.remove_task(self._tasks.pop(node.name))
