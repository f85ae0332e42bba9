"""`pgolf watch`: what runs on a store, whoever started it, as a live screen, plain lines or JSON."""

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.commands.arguments import add_json, add_store, store_place, store_there
from flows.commands.console import PlainConsole
from flows.commands.streams import hand_over, show
from flows.commands.summary import short, span, summary
from pgolf.errors import ConfigError, StoreError
from pgolf.pipeline.status import Status, statuses
from pgolf.store.artifact import Artifact, Store
from pgolf.store.output_record import RECORD_FILE, read_record

TERMINAL_EVERY_S, PLAIN_EVERY_S = 1.0, 10.0
# A stage may report seldom; after this long its silence is worth a word.
SILENT_AFTER_S = 60.0
SHOWN_FINISHED = 6


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the store says now: stages by what they do, the outputs finished last, and when that was read."""

    now_s: float
    building: tuple[Status, ...]
    waiting: tuple[Status, ...]
    gone: tuple[Status, ...]
    finished: tuple[tuple[float, Artifact], ...]


class Watcher:
    """Takes snapshots of a store; records are read once."""

    def __init__(self, root: Path) -> None:
        self._store = Store(root)
        self._known: dict[str, Artifact | None] = {}

    def look(self) -> Snapshot:
        """The store now."""
        found = statuses(self._store.root)
        here = [status for status in found if not status.is_gone]
        return Snapshot(
            now_s=time.time(),
            building=tuple(status for status in here if status.state == "building"),
            waiting=tuple(status for status in here if status.state == "waiting"),
            gone=tuple(status for status in found if status.is_gone),
            finished=self._finished(),
        )

    def _finished(self) -> tuple[tuple[float, Artifact], ...]:
        """The last outputs to be published, newest first, with the time: that of the record, which is written last."""
        times = []
        for path in self._store.artifacts():
            try:
                times.append(((path / RECORD_FILE).stat().st_mtime, path))
            except OSError:
                continue
        found = ((at_s, self._artifact(path)) for at_s, path in sorted(times, reverse=True)[:SHOWN_FINISHED])
        return tuple((at_s, artifact) for at_s, artifact in found if artifact is not None)

    def _artifact(self, path: Path) -> Artifact | None:
        if path.name not in self._known:
            try:
                self._known[path.name] = Artifact(path, read_record(path))
            except StoreError:
                self._known[path.name] = None
        return self._known[path.name]


EXAMPLES = """examples:
  pgolf watch                                      all that runs on ./artifacts, whoever started it; Ctrl-C ends it
  pgolf watch --store /shared/artifacts --every 5
  pgolf watch --once --json                        one snapshot for a script
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_store(parser)
    parser.add_argument(
        "--every", type=float, metavar="SECONDS", help="how often to look (default: 1 on a terminal, 10 elsewhere)"
    )
    parser.add_argument("--once", action="store_true", help="one snapshot, then end")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Show the store until Ctrl-C, or once."""
    every_s = arguments.every
    if every_s is not None and not (math.isfinite(every_s) and every_s > 0):
        raise ConfigError(f"--every is {every_s}; give seconds above 0, such as 5")
    # Of an object store its cache is what this machine works in; others have theirs.
    place = store_place(arguments)
    store_there(arguments, place)
    watcher = Watcher(place.store)
    console = PlainConsole(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        if arguments.once:
            _print(watcher.look(), arguments.store, console, as_json=arguments.json)
        elif console.is_terminal and not arguments.json:
            _live(watcher, arguments.store, console, every_s or TERMINAL_EVERY_S)
        else:
            while True:
                _print(watcher.look(), arguments.store, console, as_json=arguments.json)
                time.sleep(every_s or PLAIN_EVERY_S)
    except KeyboardInterrupt:
        pass  # the way to end it
    return 0


def _live(watcher: Watcher, store: Path | str, console: PlainConsole, every_s: float) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(watcher.look(), store), refresh=True)
            time.sleep(every_s)


def _print(snapshot: Snapshot, store: Path | str, console: PlainConsole, *, as_json: bool) -> None:
    if as_json:
        hand_over(json.dumps(data(snapshot)))
    elif console.is_terminal:
        console.print(screen(snapshot, store))
    else:
        show("\n".join(lines(snapshot)))
        sys.stdout.flush()


def data(snapshot: Snapshot) -> dict[str, object]:
    """The snapshot as plain data; times in seconds since 1970, shares from 0 to 1, unknown numbers null."""

    def told(status: Status) -> dict[str, object]:
        return {
            **status.model_dump(mode="json", exclude={"process"}),
            "host": status.process.host,
            "pid": status.process.pid,
            "share": status.share,
            "left_s": status.left_s,
            "units_per_s": status.units_per_s,
            "mfu": status.flops_share,
        }

    return {
        "now_s": snapshot.now_s,
        "building": [told(status) for status in snapshot.building],
        "waiting": [told(status) for status in snapshot.waiting],
        "gone": [told(status) for status in snapshot.gone],
        "finished": [
            {
                "finished_s": at_s,
                "node": artifact.record.node,
                "folder": artifact.path.name,
                "wall_s": artifact.record.wall_s,
                "host": artifact.record.host,
                "facts": dict(artifact.record.facts),
            }
            for at_s, artifact in snapshot.finished
        ],
    }


def lines(snapshot: Snapshot) -> list[str]:
    """The snapshot without colours, a line per stage; what is finished only where nothing runs."""
    now_s = snapshot.now_s
    clock = time.strftime("%H:%M:%S", time.localtime(now_s))
    said = [
        f"{clock}  {status.node:<16} {'  '.join(filter(None, (_how_far(status), *_numbers(status, now_s))))}"
        for status in snapshot.building
    ]
    said += [f"{clock}  {status.node:<16} {_what_for(status, snapshot)}" for status in snapshot.waiting]
    said += [f"{clock}  {status.node:<16} {_gone(status, now_s)}" for status in snapshot.gone]
    if not said:
        last = snapshot.finished[0] if snapshot.finished else None
        after = f"; last: {last[1].record.node}, {span(now_s - last[0])} ago" if last else ""
        said.append(f"{clock}  nothing is running{after}")
    return said


def screen(snapshot: Snapshot, store: Path | str) -> RenderableType:
    """The snapshot as one screen."""
    now_s = snapshot.now_s
    clock = time.strftime("%H:%M:%S", time.localtime(now_s))
    parts: list[RenderableType] = [Text.assemble(("pgolf watch", "bold"), f"  {store}  ", (clock, "dim"), end="\n\n")]
    for status in snapshot.building:
        parts += [_bar(status), Padding(Text("   ".join(_numbers(status, now_s)), "cyan"), (0, 0, 0, 2))]
        parts += [Padding(Text(_where(status, now_s), "dim"), (0, 0, 1, 2))]
    for status in snapshot.waiting:
        parts.append(Text.assemble(("… ", "yellow"), (status.node, "bold"), f"  {_what_for(status, snapshot)}"))
    for status in snapshot.gone:
        parts.append(Text.assemble(("✗ ", "red"), (status.node, "bold"), f"  {_gone(status, now_s)}"))
    if not (snapshot.building or snapshot.waiting or snapshot.gone):
        parts.append(Text("nothing is running", "dim"))
    if snapshot.finished:
        parts += [Text("\nfinished last", "dim"), _Finished(snapshot)]
    return Group(*parts)


def _bar(status: Status) -> Table:
    row = Table.grid(padding=(0, 2), pad_edge=False)
    row.add_column(min_width=16)
    row.add_column(width=30)
    row.add_column(justify="right", min_width=5)
    row.add_column()
    share = status.share
    row.add_row(
        Text.assemble(("▸ ", "green"), (status.node, "bold")),
        ProgressBar(total=1.0, completed=share or 0.0, width=30, pulse=share is None, finished_style="green"),
        "" if share is None else f"{100 * share:.0f} %",
        _how_far(status),
    )
    return row


def _how_far(status: Status) -> str:
    """Steps or units of the total, and of a clocked training both the steps and the clock."""
    if status.reported_s is None:
        return status.note or "no report yet"
    if status.training and status.training.clock_limit_s is not None:
        step = short(status.facts.get("step"))
        return f"step {step}   clock {status.done:,} of {status.training.clock_limit_s:,.0f} s"
    return f"{status.unit} {status.done:,} of {status.total:,}"


def _numbers(status: Status, now_s: float) -> list[str]:
    """What is worth watching, as far as it is known."""
    facts, said = status.facts, []
    if isinstance(loss := facts.get("loss_nats"), int | float):
        said.append(f"loss {loss:.4f} nats")
    speeds = {name.removesuffix("_per_s"): value for name, value in facts.items() if name.endswith("_per_s")}
    if not speeds and status.units_per_s is not None:
        speeds = {status.unit: status.units_per_s}
    said += [f"{short(value)} {unit}/s" for unit, value in speeds.items()]
    if (share := status.flops_share) is not None:
        said.append(f"MFU {100 * share:.1f} %")
    elif status.training and status.training.gpu is not None and speeds:
        said.append(f"MFU unknown: no peak for {status.training.gpu}")
    if isinstance(memory := facts.get("gpu_memory_bytes"), int | float):
        said.append(f"GPU memory {memory / 2**30:.1f} GiB at most")
    said += [f"{name} {short(value)}" for name, value in facts.items() if not _is_told(name)]
    if status.left_s is not None and status.reported_s is not None:
        said.append(f"{span(max(0.0, status.left_s - (now_s - status.reported_s)))} left")
    if now_s - status.written_s > SILENT_AFTER_S:
        said.append(f"silent for {span(now_s - status.written_s)}")
    return said


def _is_told(fact: str) -> bool:
    return fact in ("step", "loss_nats", "elapsed_s", "gpu_memory_bytes") or fact.endswith("_per_s")


def _where(status: Status, now_s: float) -> str:
    return f"{status.process.host}, pid {status.process.pid}, for {span(now_s - status.began_s)}"


def _what_for(status: Status, snapshot: Snapshot) -> str:
    """Whom or what a waiting stage waits for."""
    builder = next((other for other in snapshot.building if other.folder == status.folder), None)
    what = (
        f"waits: another process builds it ({builder.process.host}, pid {builder.process.pid})"
        if builder
        else status.note or "waits: another process holds its lock"
    )
    return f"{what}; {_where(status, snapshot.now_s)}"


def _gone(status: Status, now_s: float) -> str:
    far = f" at {_how_far(status)}" if status.reported_s is not None else ""
    return (
        f"ended without a word{far}: process {status.process.pid} on {status.process.host} is gone, last heard of "
        f"{span(now_s - status.written_s)} ago"
    )


class _Finished:
    """What finished last, a line each. Where it is narrow the facts are shortened, never the names and times."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._told = [
            (f"✓ {record.node}", summary(artifact), f"{record.wall_s:,.1f} s", f"{span(snapshot.now_s - at_s)} ago")
            for at_s, artifact in snapshot.finished
            for record in [artifact.record]
        ]

    def __rich_console__(self, _console: RichConsole, options: ConsoleOptions) -> RenderResult:
        widths = [max(map(len, column)) for column in zip(*self._told)]
        # Only an expanding table gives one column what the others leave.
        rows = Table.grid(padding=(0, 2), pad_edge=False, expand=sum(widths) + 6 > options.max_width)
        rows.add_column(no_wrap=True)
        rows.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        rows.add_column(justify="right", no_wrap=True)
        rows.add_column(justify="right", no_wrap=True, style="dim")
        for node, facts, seconds, since in self._told:
            rows.add_row(Text.assemble((node[:2], "green"), node[2:]), Text(facts), seconds, since)
        yield rows
