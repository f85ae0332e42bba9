"""`record.json`: what an output is, where it came from and which files it consists of."""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgolf.errors import StoreError
from pgolf.fingerprint import digest

RECORD_FILE = "record.json"
# When and on what an output was made.
PROVENANCE = {"wall_s", "started_utc", "host", "gpu", "cpu", "cores", "ranks", "git_commit"}
_LATER_FIELDS = ("cpu", "cores", "ranks")
FOLDER_PATTERN = re.compile(r"[a-z][a-z_]*-[0-9a-f]{12}")


class FileRecord(BaseModel):
    """Size and content of one payload file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Parent(BaseModel):
    """The output that was read in one role: its folder in the store, or the path of a file from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    outputs: Mapping[str, str]


class Adoption(BaseModel):
    """A person's statement that an older output is what the present code would make."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    who: str
    when_utc: str
    why: str
    changed: tuple[str, ...]


class Record(BaseModel):
    """Everything known about one output; written last, so that a folder with a record is complete."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    node: str
    key_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    key: dict[str, Any]
    outputs: dict[str, str]
    files: dict[str, FileRecord]
    facts: dict[str, str | int | float | bool | None]
    phases_s: dict[str, float]
    wall_s: float
    started_utc: str
    host: str
    gpu: str | None
    # What a later run's seconds are compared by; unknown of outputs older than these fields.
    cpu: str | None = None
    cores: int | None = None
    ranks: int | None = None
    git_commit: str | None
    parents: dict[str, Parent]
    adopted: Adoption | None = None
    checksum: str = ""

    def content_digest(self) -> str:
        """Digest of everything in the record but the checksum itself."""
        # A record written before a field existed must keep its digest.
        absent = {name for name in _LATER_FIELDS if getattr(self, name) is None}
        return digest(self.model_dump(mode="json", exclude={"checksum"} | absent))

    @property
    def stage(self) -> str:
        """Name of the stage that made it."""
        return str(self.key.get("stage"))

    @property
    def folder(self) -> str:
        """Name of the output's folder in the store."""
        return f"{self.stage}-{self.key_digest[:12]}"


def read_record(folder: Path) -> Record:
    """The record of an output's folder.

    Raises StoreError when it is missing, is not a record, or names a file outside its own folder.
    """
    path = folder / RECORD_FILE
    try:
        record = Record.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise StoreError(f"{RECORD_FILE} missing") from None
    except OSError as error:
        raise StoreError(f"{RECORD_FILE} cannot be read: {error.strerror}") from None
    except (ValueError, ValidationError):
        raise StoreError(f"{RECORD_FILE} is not a record") from None
    for name in record.files:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or not parts or "\\" in name or "\0" in name:
            raise StoreError(f"{RECORD_FILE} names {name!r}, a path outside its folder")
    if record.checksum != record.content_digest() or digest(record.key) != record.key_digest:
        raise StoreError(f"{RECORD_FILE} altered")
    return record
