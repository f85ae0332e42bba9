"""Run options of a stage, its progress reports, and the facts it returns: none of them enters a cache key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Fact = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A progress report from a running stage: `done` of `total` units, and live metrics (loss, tokens_per_s, …).

    note: a one-off message to show on its own line.
    """

    stage: str
    done: int
    total: int
    unit: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    note: str = ""


def ignore_progress(_progress: Progress) -> None:
    """The default `report` callback: a no-op."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Devices leased to a stage. descriptors: their open lock files, which the subprocess inherits.

    cores: those on which a subprocess may run; None: as the thread that starts it.
    """

    devices: tuple[str, ...]
    descriptors: tuple[int, ...] = ()
    cores: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where and how a stage runs. Nothing here may change the bytes of an output.

    device: "auto" means CUDA if available. processes: ranks started by torchrun (0: one per GPU, in training the most
    that divide a step evenly; one on CPU). threads: CPU threads per process (0: one in training, an equal share of the
    cores in scoring, all cores in single-process stages).
    lease_dir: folder of the node's device lock files. lease: the devices leased there for this stage; None: use devices
    without a lease. scratch: folder for unfinished work that survives a kill (`pgolf.store.scratch`); None: none is
    kept. checkpoint_every_s: seconds between training checkpoints (0: never).
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int = 0
    threads: int = 0
    log_every_steps: int = 10
    timeout_s: float | None = None
    lease_dir: Path | None = None
    lease: Lease | None = None
    scratch: Path | None = None
    checkpoint_every_s: float = 60.0
    report: Callable[[Progress], None] = ignore_progress
    log_line: Callable[[str], None] = lambda _line: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a stage reports about the output it has just made.

    digests: named outputs not identified by the bytes of their files (compress: `weights`, the decoded tensors).
    phases_s: wall seconds by phase; `before`: spent by killed runs that this one resumed. facts: shown on the console
    and in the tables.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    phases_s: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
