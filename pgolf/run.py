"""How a stage is asked to run, and what it tells about the run: neither is part of an output's identity."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Fact = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report from a running stage: `done` of `total` units, and numbers worth showing (loss, tokens_per_s, …).

    note: what deserves a line of its own, said once.
    """

    stage: str
    done: int
    total: int
    unit: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    note: str = ""


def ignore_progress(_progress: Progress) -> None:
    """The default listener: says nothing."""


@dataclass(frozen=True, slots=True)
class Lease:
    """devices: the names that were leased. descriptors: open lock files, for the child to inherit."""

    devices: tuple[str, ...]
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where and how a stage runs. Nothing here may change the bytes of an output.

    device: "auto" takes CUDA where there is one. processes: ranks started by torchrun (0: one per GPU, in training as
    far as they share a step evenly; one on a CPU). threads: CPU threads per process (0: in training one, in scoring
    its share of the cores, in a stage that is one process all of them).
    lease_dir: folder of the node's device lock files. lease: what was leased there for a stage that needs devices; None
    takes them unasked. scratch: where the stage may keep unfinished work for after a kill (`pgolf.store.scratch`);
    None: nowhere. checkpoint_every_s: seconds between two checkpoints of a training (0: never).
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
    """What a stage says about what it has just made.

    digests: named outputs whose identity is not their files' bytes (compress: `weights`, the decoded tensors).
    phases_s: wall seconds by phase; `before`: of killed runs that this one went on from. facts: what the console line
    and the tables show.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    phases_s: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Fact] = field(default_factory=dict)
