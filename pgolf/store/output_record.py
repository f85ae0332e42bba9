"""`record.json`: what an output is, where it came from and which files it consists of."""

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pgolf.errors import StoreError
from pgolf.identity.fingerprint import digest

RECORD_FILE = "record.json"
# When and on what an output was made.
PROVENANCE = {"wall_s", "started_utc", "host", "gpu", "cpu", "cores", "ranks", "git_commit"}
_LATER_FIELDS = ("cpu", "cores", "ranks")
FOLDER_PATTERN = re.compile(r"[a-z][a-z_]*-[0-9a-f]{12}")
# A record takes some 6 kB; what is far longer was not written by a store.
MOST_RECORD_BYTES = 16 << 20
_PLAIN_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@, -]*")


class FileRecord(BaseModel):
    """Size and content of one payload file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int = Field(ge=0, lt=1 << 63)
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

    def to_bytes(self) -> bytes:
        """What stands in `record.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=1).encode()

    @property
    def stage(self) -> str:
        """Name of the stage that made it."""
        return str(self.key.get("stage"))

    @property
    def size_bytes(self) -> int:
        """Bytes of all payload files."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def folder(self) -> str:
        """Name of the output's folder in the store."""
        return f"{self.stage}-{self.key_digest[:12]}"


def read_record(folder: Path) -> Record:
    """The record of an output's folder.

    Raises StoreError when it is missing, is not a record, or names a file outside its own folder.
    """
    try:
        return parse_record(_plain_content(folder / RECORD_FILE))
    except FileNotFoundError:
        raise StoreError(f"{RECORD_FILE} missing") from None
    except OSError as error:
        raise StoreError(f"{RECORD_FILE} cannot be read: {error.strerror}") from None


def parse_record(content: bytes) -> Record:
    """The record that `content` spells. Raises StoreError when it is none, was altered, or names a path it must not."""
    if len(content) > MOST_RECORD_BYTES:
        raise StoreError(f"{RECORD_FILE} has more than {MOST_RECORD_BYTES:,} bytes")
    try:
        record = Record.model_validate(json.loads(content, object_pairs_hook=_without_repeats))
        names = [refuse_unsafe(name) for name in record.files]
        altered = record.checksum != record.content_digest() or digest(record.key) != record.key_digest
    except StoreError:
        raise
    except (ValueError, RecursionError):  # not JSON, not the model, NaN, nested too deep
        raise StoreError(f"{RECORD_FILE} is not a record") from None
    _refuse_clashes(names)
    if altered:
        raise StoreError(f"{RECORD_FILE} altered")
    return record


def refuse_unsafe(name: str) -> str:
    """`name` again, if it can be a payload file's: a relative path spelled in one way only, of plain characters.

    Raises StoreError for everything else: absolute, "..", hidden or temporary, the record itself, backslashes, control
    and non-ASCII characters (which file systems fold together in ways of their own).
    """
    parts = name.split("/")
    if len(name) > 1000 or not all(_PLAIN_PART.fullmatch(part) for part in parts) or name == RECORD_FILE:
        raise StoreError(
            f"{RECORD_FILE} names {name[:200]!r}, a path outside its folder or one that no output may have"
        )
    return name


def _refuse_clashes(names: list[str]) -> None:
    """Raise StoreError where two names could be one file, or one file another's folder."""
    folded: dict[str, str] = {}
    for name in names:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise StoreError(f"{RECORD_FILE} names {other!r} and {name!r}, one file where case does not count")
    for name in names:
        above = name.casefold()
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in folded:
                raise StoreError(f"{RECORD_FILE} names {folded[above]!r} as a file and as a folder")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _plain_content(path: Path) -> bytes:
    """The bytes of a plain file of the folder itself: a link, a pipe or a device is not followed, nor waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StoreError(f"{RECORD_FILE} is not a plain file")
        return file.read(MOST_RECORD_BYTES + 1)
