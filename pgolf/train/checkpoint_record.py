"""What makes the files of a training's checkpoint whole: a record of them, written last. Imports no torch.

These are the checkpoints of an unfinished training; what a finished one exports is that of `pgolf.model.checkpoint`.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pgolf.store.scratch import peek
from pgolf.train.train_job import Reached

RECORD_FILE = "training.json"
CHECKPOINT_FORMAT = 1
# Names in the order of steps.
PART_FILE = "step-{steps:09d}.rank-{rank}.safetensors"
PART_FILES = "step-*.rank-*.safetensors"


class PartFile(BaseModel):
    """Size and content of one rank's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "PartFile":
        """The file as it is. Raises OSError."""
        with path.open("rb") as file:
            return cls(size_bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


class CheckpointRecord(Reached):
    """A whole checkpoint: how far, of what, and the files of all ranks by their names."""

    of: dict[str, str | int]
    files: dict[str, PartFile]


def read_record(folder: Path) -> CheckpointRecord | None:
    """The record in `folder`, its files unseen; None where there is none that can be read. Changes nothing."""
    content = peek(folder / RECORD_FILE)
    if content is None:
        return None
    try:
        return CheckpointRecord.model_validate_json(content)
    except ValidationError:
        return None


def sound_record(
    folder: Path, of: Mapping[str, str | int], say: Callable[[str], None] = lambda _line: None
) -> CheckpointRecord | None:
    """The record of a checkpoint that is whole and of just this training; removes whatever else is in the folder.

    say: hears why a checkpoint is not used.
    """
    record = read_record(folder)
    why = _why_not(folder, record, of)
    if why is not None:
        at = "" if record is None else f" at step {record.steps}"
        say(f"the checkpoint{at} of an earlier run is not used: {why}; training starts anew")
        record = None
    kept = set() if record is None else {RECORD_FILE, *record.files}
    for path in folder.iterdir():
        if path.name not in kept:
            with suppress(OSError):
                path.unlink()
    return record


def forget(folder: Path) -> None:
    """Remove every checkpoint."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name != RECORD_FILE):  # the record first
        with suppress(OSError):
            path.unlink()


def _why_not(folder: Path, record: CheckpointRecord | None, of: Mapping[str, str | int]) -> str | None:
    if record is None:
        return f"{RECORD_FILE} is damaged" if (folder / RECORD_FILE).exists() else None
    for name in sorted(of.keys() | record.of.keys()):
        if of.get(name) != record.of.get(name):
            return f"its {name} is {record.of.get(name)}, this run's {of.get(name)}"
    ranks = of["number of ranks"]
    assert isinstance(ranks, int)
    if set(record.files) != {PART_FILE.format(steps=record.steps, rank=rank) for rank in range(ranks)}:
        return f"it names {', '.join(sorted(record.files)) or 'no file'}, which are not the files of {ranks} ranks"
    for name, expected in record.files.items():
        try:
            found = PartFile.of(folder / name)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if found.size_bytes != expected.size_bytes:
            return f"{name} has {found.size_bytes:,} bytes, recorded {expected.size_bytes:,}"
        if found != expected:
            return f"{name} is altered"
    return None
