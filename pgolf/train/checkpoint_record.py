"""The record of a resumable training checkpoint: written last, it makes the checkpoint complete. Imports no torch.

These are the checkpoints of an unfinished training; a finished one exports that of `pgolf.model.checkpoint`.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pgolf.store.plain_file import open_plain
from pgolf.store.scratch import peek
from pgolf.train.train_job import Reached

RECORD_FILE = "training.json"
CHECKPOINT_FORMAT = 1
# Names sort in order of steps.
PART_FILE = "step-{steps:09d}.rank-{rank}.safetensors"
PART_FILES = "step-*.rank-*.safetensors"


class PartFile(BaseModel):
    """Size and digest of one rank's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "PartFile":
        """Size and digest of the file as it is now. Raises OSError."""
        with open_plain(path) as file:
            return cls(size_bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


class CheckpointRecord(Reached):
    """A complete checkpoint: its progress, what training it is of, and the files of all ranks by name."""

    of: dict[str, str | int]
    files: dict[str, PartFile]


def read_record(folder: Path) -> CheckpointRecord | None:
    """The record in `folder`, without checking its files; None if there is no readable one. Changes nothing."""
    content = peek(folder / RECORD_FILE)
    if content is None:
        return None
    try:
        return CheckpointRecord.model_validate_json(content)
    except ValidationError:
        return None


def usable_record(
    folder: Path, of: Mapping[str, str | int], say: Callable[[str], None] = lambda _line: None
) -> CheckpointRecord | None:
    """The record of a complete checkpoint of exactly this training; removes everything else in the folder.

    say: told why a checkpoint is not used.
    """
    record = read_record(folder)
    why = _why_unusable(folder, record, of)
    if why is not None:
        at = "" if record is None else f" at step {record.steps}"
        say(f"the checkpoint{at} of an earlier run is not used: {why}; training starts from the beginning")
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


def _why_unusable(folder: Path, record: CheckpointRecord | None, of: Mapping[str, str | int]) -> str | None:
    if record is None:
        return f"{RECORD_FILE} is damaged" if (folder / RECORD_FILE).exists() else None
    for name in sorted(of.keys() | record.of.keys()):
        if of.get(name) != record.of.get(name):
            return f"its {name} is {record.of.get(name)}, this run's {of.get(name)}"
    ranks = of["number of ranks"]
    assert isinstance(ranks, int)
    if set(record.files) != {PART_FILE.format(steps=record.steps, rank=rank) for rank in range(ranks)}:
        return f"it lists {', '.join(sorted(record.files)) or 'no file'}, not the files of {ranks} ranks"
    for name, expected in record.files.items():
        try:
            found = PartFile.of(folder / name)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if found.size_bytes != expected.size_bytes:
            return f"{name} has {found.size_bytes:,} bytes, expected {expected.size_bytes:,}"
        if found != expected:
            return f"{name} is altered"
    return None
