"""`record.json` of an output: its key, its provenance, and size and digest of each of its files."""

import errno
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pgolf.errors import StoreError, StoreUnreadable
from pgolf.identity.fingerprint import digest
from pgolf.machine.lack import lack_of
from pgolf.store.plain_file import read_plain

RECORD_FILE = "record.json"
# Fields that say when, where and on what hardware an output was made.
PROVENANCE = {"wall_s", "started_utc", "host", "gpu", "cpu", "cores", "ranks", "git_commit"}
_LATER_FIELDS = ("cpu", "cores", "ranks")
FOLDER_PATTERN = re.compile(r"[a-z][a-z_]*-[0-9a-f]{12}")
# A record takes about 6 kB; anything far larger was not written by a store.
MAX_RECORD_BYTES = 16 << 20
# Nothing is there, or something else than a regular file of a possible size; all else is about the machine.
_OF_WHAT_IS_THERE = frozenset(
    (*(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP), *(errno.EINVAL, errno.EFBIG, errno.ENXIO))
)
_PLAIN_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@, -]*")


class FileRecord(BaseModel):
    """Size and digest of one payload file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int = Field(ge=0, lt=1 << 63)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Parent(BaseModel):
    """One input of an output: its folder in the store, or the path of an outside file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    outputs: Mapping[str, str]


class Adoption(BaseModel):
    """A person's statement that an older output equals what the current code would make."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    who: str
    when_utc: str
    why: str
    changed: tuple[str, ...]


class Record(BaseModel):
    """Everything known about one output. It is written last, so a folder with a record is complete."""

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
    # To compare the duration with later runs; unknown for outputs older than these fields.
    cpu: str | None = None
    cores: int | None = None
    ranks: int | None = None
    git_commit: str | None
    parents: dict[str, Parent]
    adopted: Adoption | None = None
    checksum: str = ""

    def content_digest(self) -> str:
        """Digest of the whole record except the checksum itself."""
        # Records written before a field existed must keep their digest.
        absent = {name for name in _LATER_FIELDS if getattr(self, name) is None}
        return digest(self.model_dump(mode="json", exclude={"checksum"} | absent))

    def to_bytes(self) -> bytes:
        """The content of `record.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=1).encode()

    @property
    def stage(self) -> str:
        """Name of the stage that made the output."""
        return str(self.key.get("stage"))

    @property
    def size_bytes(self) -> int:
        """Total size of the payload files."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def folder(self) -> str:
        """Name of the output's folder in the store."""
        return f"{self.stage}-{self.key_digest[:12]}"


def read_record(folder: Path) -> Record:
    """Read the record of an output's folder.

    Raises StoreError if it is missing, is not a record, or names a file outside its own folder, and StoreUnreadable if
    it is there and cannot be read.
    """
    try:
        return parse_record(read_plain(folder / RECORD_FILE, most_bytes=MAX_RECORD_BYTES, follow_links=False))
    except FileNotFoundError:
        raise StoreError(f"{RECORD_FILE} missing") from None
    except OSError as error:
        refuse_unreadable(error, folder / RECORD_FILE)
        raise StoreError(f"{RECORD_FILE} cannot be read: {error.strerror}") from None


def refuse_unreadable(error: OSError, path: Path) -> None:
    """Raise StoreUnreadable unless the error is about what lies there: something else than a file, or nothing."""
    if error.errno not in _OF_WHAT_IS_THERE:
        why = lack_of(error) or error.strerror or str(error)
        raise StoreUnreadable(
            f"{path} cannot be read ({why}), and so is neither used nor made again; make it readable, or move "
            f"{path.parent.name} elsewhere to have it made again"
        ) from error


def parse_record(content: bytes) -> Record:
    """Parse a record. Raises StoreError if `content` is not one, was altered, or names an unsafe path."""
    if len(content) > MAX_RECORD_BYTES:
        raise StoreError(f"{RECORD_FILE} is larger than {MAX_RECORD_BYTES:,} bytes")
    try:
        record = Record.model_validate(json.loads(content, object_pairs_hook=_without_duplicates))
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
    """Return `name` if it is a valid payload path: relative, canonical, plain ASCII characters.

    Raises StoreError for everything else: absolute, "..", hidden or temporary, the record itself, backslashes, control
    and non-ASCII characters (file systems normalize those differently).
    """
    parts = name.split("/")
    if len(name) > 1000 or not all(_PLAIN_PART.fullmatch(part) for part in parts) or name == RECORD_FILE:
        raise StoreError(f"{RECORD_FILE} names {name[:200]!r}, a path outside its folder or with forbidden characters")
    return name


def _refuse_clashes(names: list[str]) -> None:
    """Raise StoreError if two names could be the same file, or one file's name is another's folder."""
    folded: dict[str, str] = {}
    for name in names:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise StoreError(f"{RECORD_FILE} names {other!r} and {name!r}, the same file on a case-insensitive disk")
    for name in names:
        above = name.casefold()
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in folded:
                raise StoreError(f"{RECORD_FILE} names {folded[above]!r} both as a file and as a folder")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found
