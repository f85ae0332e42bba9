"""Status files in the store: one small file per stage that any process is building or waiting for.

`.running/<stage>-<12 hex>.<8 hex>.json`, replaced as a whole about once a second, removed at the end. A process that
was killed leaves its file behind: whoever reads it on the same machine sees that the process is gone, and the next
holder of the key's lock removes it. Nothing is ever decided by these files; a store without them works the same.
"""

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pgolf.machine.gpu_peak import peak_flops
from pgolf.machine.process import Process
from pgolf.model.flops import training_flops_per_token
from pgolf.pipeline.graph import Node
from pgolf.pipeline.pace import left_s
from pgolf.pipeline.placement import Hardware
from pgolf.run_options import Progress, RunOptions
from pgolf.store.artifact import Artifact
from pgolf.store.durable_folder import make_folder
from pgolf.store.plain_file import read_plain
from pgolf.train.checkpoint_record import RECORD_FILE, read_record
from pgolf.train.config import TrainStageConfig

RUNNING = ".running"
WRITE_EVERY_S = 1.0
# Of a status file a few hundred bytes are usual, and of each text in it a screen shows one line.
_MOST_BYTES = 1 << 20
_MOST_CHARACTERS = 500


def _printable(text: str) -> str:
    """As a terminal shows it, and not as it would obey it."""
    return "".join(one if one.isprintable() else " " for one in text[:_MOST_CHARACTERS])


# What a file of others may say: it is shown, and reckoned with.
Shown = Annotated[str, AfterValidator(_printable)]
Whole = Annotated[int, Field(strict=True, ge=-(1 << 63), lt=1 << 63)]


class Training(BaseModel):
    """What is known beforehand of a training run. flops_per_token: of the network, forward and backward."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    steps: Whole
    clock_limit_s: float | None  # after which it trains no more
    flops_per_token: Whole
    gpu: Shown | None
    ranks: Annotated[int, Field(ge=1, le=1 << 20)]


class Status(BaseModel):
    """One stage that is being built, or that waits for devices or another process; times in seconds since 1970.

    first_*: the first report, before which a resumed stage had done `first_done`. note: what it waits for, or the last
    line of a log before the first report.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    folder: Shown
    node: Shown
    stage: Shown
    state: Literal["building", "waiting"]
    process: Annotated[Process, AfterValidator(lambda process: replace(process, host=_printable(process.host)))]
    began_s: float
    written_s: float
    note: Shown = ""
    unit: Shown = ""
    done: Whole = 0
    total: Whole = 0
    reported_s: float | None = None
    first_done: Whole = 0
    first_s: float | None = None
    first_step: Whole | None = None
    facts: Mapping[Shown, Whole | Annotated[float, Field(allow_inf_nan=False)] | bool | Shown | None] = {}
    training: Training | None = None

    @property
    def is_gone(self) -> bool:
        """Whether its process has ended without a word, as far as this machine can tell: of others it cannot."""
        return self.process.is_gone

    @property
    def share(self) -> float | None:
        """How much is done, from 0 to 1; None before the first report."""
        return None if self.reported_s is None or self.total <= 0 else min(1.0, self.done / self.total)

    @property
    def reporting_s(self) -> float:
        """Seconds from the first report to the last."""
        return 0.0 if self.reported_s is None or self.first_s is None else self.reported_s - self.first_s

    @property
    def units_per_s(self) -> float | None:
        """The pace since the first report; None where there is none yet."""
        if self.done <= self.first_done or self.reporting_s <= 0:
            return None
        return (self.done - self.first_done) / self.reporting_s

    @property
    def left_s(self) -> float | None:
        """Seconds to go from the last report on, at the pace so far; of a training, to its clock's end or its last
        step, whichever comes first.
        """
        left = [left_s(self.reporting_s, self.done - self.first_done, self.total - self.done)]
        step = self.facts.get("step")
        if self.training and isinstance(step, int) and self.first_step is not None:
            left.append(left_s(self.reporting_s, step - self.first_step, self.training.steps - step))
        return None if left[0] is None else min(seconds for seconds in left if seconds is not None)

    @property
    def flops_share(self) -> float | None:
        """Of what the GPUs could do at most, how much goes into the network (MFU); None where a part is not known."""
        tokens_per_s = self.facts.get("tokens_per_s")
        peak = peak_flops(self.training.gpu) if self.training else None
        if self.training is None or peak is None or not isinstance(tokens_per_s, int | float):
            return None
        return tokens_per_s * self.training.flops_per_token / (peak * self.training.ranks)


class StatusFile:
    """A listener that keeps a stage's file while it is built or waited for. What cannot be written is left unsaid."""

    def __init__(self, root: Path, key_folder: str, run: RunOptions) -> None:
        self._folder = root / RUNNING
        self._path = self._folder / f"{key_folder}.{secrets.token_hex(4)}.json"
        self._key_folder, self._run = key_folder, run
        self._status: Status | None = None
        self._written = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def waiting(self, node: Node, what: str) -> None:
        """Another process builds it, or it queues for devices."""
        self._begin(node, "waiting", what)

    def building(self, node: Node) -> None:
        """The stage begins; the caller holds the key's lock, so whoever else claims to build it is no more."""
        for path in _files(self._folder, f"{self._key_folder}."):
            other = _read(path)
            if path != self._path and (other is None or other.state == "building" or other.is_gone):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        self._begin(node, "building")

    def progress(self, _node: Node, progress: Progress) -> None:
        """The stage reports how far it is."""
        if self._status is None:
            return
        now_s = time.time()
        first = self._status.first_s is None
        step = progress.facts.get("step")
        self._update(
            done=progress.done,
            total=progress.total,
            unit=progress.unit,
            facts=dict(progress.facts),
            note="",
            reported_s=now_s,
            **({"first_done": progress.done, "first_s": now_s, "first_step": step} if first else {}),
        )

    def line(self, _node: Node, text: str) -> None:
        """A line of the stage's log: before its first report, all there is to tell."""
        if self._status is not None and self._status.reported_s is None:
            self._update(note=text.strip()[:200])

    def done(self, _node: Node, _artifact: Artifact, *, built: bool) -> None:
        """Nothing to tell: the record says more."""

    def _begin(self, node: Node, state: Literal["building", "waiting"], note: str = "") -> None:
        now_s = time.time()
        self._written = float("-inf")
        self._status = Status(
            folder=self._key_folder,
            node=node.name,
            stage=node.stage.name,
            state=state,
            process=Process.here(),
            began_s=self._status.began_s if self._status is not None and self._status.state == state else now_s,
            written_s=now_s,
            note=note,
            training=_training(node, self._run),
        )
        self._write()

    def _update(self, **changed: object) -> None:
        assert self._status is not None
        self._status = self._status.model_copy(update=changed)
        self._write()

    def _write(self) -> None:
        now = time.monotonic()
        if self._status is None or now - self._written < WRITE_EVERY_S:
            return
        self._written = now
        text = self._status.model_copy(update={"written_s": time.time()}).model_dump_json()
        unfinished = self._path.with_suffix(".tmp")
        try:
            make_folder(self._folder)
            unfinished.write_bytes(text.encode())
            unfinished.replace(self._path)
        except OSError:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


def statuses(root: Path) -> list[Status]:
    """All that is said to run on the store, oldest first; what cannot be read, or is no status, is left out."""
    found = [status for path in _files(root / RUNNING, "") if (status := _read(path)) is not None]
    return sorted(found, key=lambda status: status.began_s)


def forget_the_gone(root: Path) -> int:
    """Remove what processes of this machine have left behind; returns how many files that were."""
    removed = 0
    for path in _files(root / RUNNING, ""):
        status = _read(path)
        if status is not None and status.is_gone:
            with suppress(OSError):
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def forget_own(root: Path) -> None:
    """Remove what this process says to run; called by one that ends before its stages can."""
    here = Process.here()
    for path in _files(root / RUNNING, ""):
        status = _read(path)
        if status is not None and status.process == here:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def kept_since(partial: Path, since_s: float) -> list[str]:
    """What the trainings of a store have kept since a moment (seconds since 1970): "a checkpoint at step 1,200"."""
    found = []
    for record_file in sorted(partial.glob(f"*/{RECORD_FILE}")):
        with suppress(OSError):
            record = read_record(record_file.parent) if record_file.stat().st_mtime >= since_s else None
            if record is not None:
                found.append(f"a checkpoint at step {record.steps:,}")
    return found


def _training(node: Node, run: RunOptions) -> Training | None:
    if not isinstance(node.config, TrainStageConfig):
        return None
    train, here = node.config.train, Hardware.here(node.stage, node.config, run)
    return Training(
        steps=train.steps,
        clock_limit_s=train.clock_end_s,
        flops_per_token=training_flops_per_token(node.config.model, train.sequence_length),
        gpu=here.gpu,
        ranks=here.ranks,
    )


def _files(folder: Path, beginning: str) -> Iterator[Path]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return
    for name in names:
        if name.startswith(beginning) and name.endswith(".json"):
            yield folder / name


def _read(path: Path) -> Status | None:
    try:
        return Status.model_validate_json(read_plain(path, most_bytes=_MOST_BYTES, follow_links=False))
    except (OSError, ValueError):
        return None
