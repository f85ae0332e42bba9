"""The artifact store: an output is named by what decides its bytes, built once, and verified whenever it is opened.

Layout: `<stage>-<12 hex>/` holds a payload and `record.json`; `quarantine/` holds what failed verification, `failed/`
the logs of stages that failed, `partial/<stage>-<12 hex>/` what an unfinished stage keeps for after a kill;
`.locks/`, `.running/`, `.memo.sqlite`, `.records.sqlite`, `.sources.sqlite` and `.tmp-*`, in a cache of an object store
also `.remote-records.sqlite` and `.get-*`, are the store's own and may be deleted when nothing runs.
"""

import errno
import importlib
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock, Timeout

from pgolf.errors import StoreError, StoreFull
from pgolf.identity.fingerprint import canonical
from pgolf.identity.stage import Stage, StageKey
from pgolf.machine.hardware import core_count, cpu_name, gpu_name, host_name
from pgolf.machine.lease import is_locked, lease
from pgolf.run import Made, RunOptions
from pgolf.store.content import Memo, combined, signature, spelled
from pgolf.store.durable import put, sync, write_synced
from pgolf.store.output_record import (
    FOLDER_PATTERN,
    RECORD_FILE,
    FileRecord,
    Parent,
    Record,
    read_record,
    refuse_unsafe,
)
from pgolf.store.record_index import RecordIndex

QUARANTINE = "quarantine"
FAILED = "failed"
PARTIAL = "partial"
LOCKS = ".locks"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# How often a stage that queues for devices looks whether somebody else has begun to build it.
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Artifact:
    """A complete, verified output of a stage: its folder and its record.

    unverified_bytes: in files of the recorded size whose content was not read, as the caller asked.
    """

    path: Path
    record: Record
    unverified_bytes: int = 0

    @property
    def outputs(self) -> Mapping[str, str]:
        """Named outputs and their digests, 64 hex digits each."""
        return self.record.outputs


@dataclass(frozen=True, slots=True)
class Damaged:
    """A folder that is there but must not be used; `why` names the file and what is wrong with it."""

    path: Path
    why: str


class Store:
    """A folder of outputs, local or shared; all its paths stay inside it."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._memo = Memo(self.root / ".memo.sqlite")
        self._index = RecordIndex(self.root / ".records.sqlite")

    def save_memo(self) -> None:
        """Keep what was learned about unchanged files for the next process."""
        self._memo.save()

    def look(self, key: StageKey, *, most_read_bytes: float = math.inf) -> Artifact | Damaged | None:
        """The output of `key` if it is there and sound; changes nothing. most_read_bytes: as for `inspect`."""
        path = self.root / key.folder
        if not os.path.lexists(path):
            return None
        found = self.inspect(path, most_read_bytes=most_read_bytes)
        if isinstance(found, Artifact) and found.record.key_digest != key.digest:
            return Damaged(path, f"{RECORD_FILE} belongs to another key that begins with the same 12 digits")
        return found

    def get(self, key: StageKey) -> Artifact | Damaged | None:
        """As `look`, and its files lie in this folder afterwards, wherever they were before."""
        return self.look(key)

    def fetch(self, artifact: Artifact) -> Artifact:
        """An output that `look` has found, with its files in this folder. Raises StoreError if that cannot be."""
        return artifact

    def is_shared(self, artifact: Artifact) -> bool:
        """Whether everybody who uses this store can have the output."""
        return True

    def share(self, artifact: Artifact) -> Artifact:
        """Let everybody who uses this store have the output; the caller holds the lock. Returns the one they have."""
        return artifact

    def inspect(self, path: Path, *, trust: bool = True, most_read_bytes: float = math.inf) -> Artifact | Damaged:
        """Check one folder against its own record: every file present, of the recorded size and sha256.

        trust: files that have not been touched since they were last hashed are not hashed again. most_read_bytes: where
        more would have to be hashed, nothing is, and the output is known by its files' sizes alone.
        """
        if path.is_symlink() or not path.is_dir():
            return Damaged(path, "it is not a folder of the store itself")
        try:
            record = read_record(path)
        except StoreError as error:
            return Damaged(path, str(error))
        if record.folder != path.name:
            return Damaged(path, f"{RECORD_FILE} belongs to {record.folder}")
        for name, file in sorted(record.files.items()):
            if wrong := self._wrong_size(path / name, file):
                return Damaged(path, f"file {name} {wrong}")
        unread_bytes = 0 if most_read_bytes == math.inf else self._unread_bytes(path, record)
        if unread_bytes > most_read_bytes:
            return Artifact(path, record, unverified_bytes=unread_bytes)
        for name, file in sorted(record.files.items()):
            if wrong := self._wrong_content(path / name, file, trust):
                return Damaged(path, f"file {name} {wrong}")
        return Artifact(path, record)

    def _unread_bytes(self, path: Path, record: Record) -> int:
        try:
            return sum(self._memo.unread_bytes(path / name, name=f"{path.name}/{name}") for name in record.files)
        except OSError:
            return 0  # found again, and named, by who reads them

    def _wrong_size(self, path: Path, file: FileRecord) -> str | None:
        try:
            if path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(self.root.resolve()):
                return "missing" if not path.exists() else "is not a plain file of the store"
            size_bytes = path.stat().st_size
            if size_bytes != file.size_bytes:
                return f"has {size_bytes:,} bytes, recorded {file.size_bytes:,}"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return None

    def _wrong_content(self, path: Path, file: FileRecord, trust: bool) -> str | None:
        try:
            if self._memo.sha256(path, name=str(path.relative_to(self.root)), trust=trust) != file.sha256:
                return "altered"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return None

    def artifacts(self) -> Iterator[Path]:
        """Folders of the store that look like outputs, sorted by name."""
        for folder in self._folders():
            yield self.root / folder

    def _folders(self, stage: str | None = None) -> list[str]:
        start = "" if stage is None else f"{stage}-"
        try:
            with os.scandir(self.root) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.name.startswith(start)
                    and FOLDER_PATTERN.fullmatch(entry.name)
                    and entry.is_dir(follow_symlinks=False)
                )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def records(self, stage: str | None = None) -> Iterator[Record]:
        """Readable records of the store or of one stage, their files unverified, sorted by folder name."""
        wanted = {}
        for folder in self._folders(stage):
            with suppress(OSError):
                wanted[folder] = spelled(signature(f"{self.root}/{folder}/{RECORD_FILE}"))
        yield from self._index.records(wanted, self._read, stage=stage)

    def _read(self, folder: str) -> Record | None:
        try:
            record = read_record(self.root / folder)
        except StoreError:
            return None
        return record if record.folder == folder else None

    def is_held(self, folder: str) -> bool:
        """Whether somebody, on whatever host, holds the lock under which this output is written."""
        return is_locked(self.root / LOCKS / f"{folder}.lock")

    def held(self) -> Iterator[str]:
        """Names of outputs that somebody is building."""
        for path in self.root.glob(".tmp-*"):
            folder = written_by(path)
            if self.is_held(folder):
                yield folder

    def leftovers(self) -> Iterator[Path]:
        """Temporary folders of writers that are no more."""
        for path in sorted(self.root.glob(".tmp-*")):
            if path.is_dir() and not self.is_held(written_by(path)):
                yield path

    @contextmanager
    def lock(self, key: StageKey, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the key's lock; the kernel releases it when the holder dies.

        on_wait: called before we wait; what it raises keeps us from waiting.
        """
        try:
            folder = self._own_folder(LOCKS)
            lock = FileLock(folder / f"{key.folder}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                on_wait()
                lock.acquire()
        except OSError as error:
            raise store_error(error, self.root) from error
        try:
            yield
        finally:
            lock.release()

    def unfinished(self, key: StageKey) -> Path:
        """Where the stage of `key` keeps unfinished work, if there is any."""
        return self.root / PARTIAL / key.folder

    @contextmanager
    def scratch(self, key: StageKey) -> Iterator[Path]:
        """The folder in which the stage of `key` keeps unfinished work; the caller holds the lock.

        It survives a killed process and a stage that failed, and is removed once the block ends well.
        """
        try:
            folder = self._own_folder(PARTIAL, key.folder)
        except OSError as error:
            raise store_error(error, self.root) from error
        try:
            yield folder
        except BaseException:
            with suppress(OSError):
                folder.rmdir()  # if nothing is in it
            raise
        shutil.rmtree(folder, ignore_errors=True)

    def quarantine(self, damaged: Damaged) -> Path:
        """Move a damaged folder out of the way, keeping it for inspection; returns where it is now."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        try:
            target = self._own_folder(QUARANTINE) / f"{damaged.path.name}.{stamp}.{os.getpid()}"
            damaged.path.rename(target)
        except OSError as error:
            raise store_error(error, self.root) from error
        return target

    def _own_folder(self, *parts: str) -> Path:
        """A folder of the store's own, made if it is not there. Raises StoreError where a link takes its place."""
        path = self.root
        for part in parts:
            path = path / part
            if path.is_symlink():
                raise StoreError(f"{path} is a link, and the store writes nowhere but in itself; remove the link")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self, key: StageKey, *, stage: Stage, write: Callable[[Path], Made], **about: object) -> Artifact:
        """Write a payload in a temporary sibling, describe it, and rename it into place; the caller holds the lock.

        about: node, parents and, for an adoption, adopted and the source's provenance, as in `Record`. Raises StoreFull
        or StoreError when the store cannot be written to; whatever happens, no half-written folder carries the
        output's name.
        """
        started = datetime.now(UTC)
        clock = time.perf_counter()
        temporary = self.root / f".tmp-{key.folder}-{os.getpid()}"
        try:
            for leftover in self.root.glob(f".tmp-{key.folder}-*"):  # of a killed holder of this lock
                leftover.unlink() if leftover.is_symlink() else shutil.rmtree(leftover)
            temporary.mkdir()
            made = write(temporary)
            files = self._seal(temporary, key.folder)
            record = Record(
                key_digest=key.digest,
                key=canonical(key.fields()),
                outputs=_named_outputs(stage, files, made.digests),
                files=files,
                facts=dict(made.facts),
                phases_s=dict(made.phases_s),
                **_provenance(made, started, time.perf_counter() - clock) | about,
            )
            record = record.model_copy(update={"checksum": record.content_digest()})
            write_synced(temporary / RECORD_FILE, record.to_bytes())
            sync(temporary)
            put(temporary, self.root / key.folder)
        except Exception as error:
            self._keep_logs(temporary, key.folder)
            if _no_space(error) or (isinstance(error, OSError) and _concerns(error, self.root)):
                raise store_error(error, self.root) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return Artifact(self.root / key.folder, record)

    def _keep_logs(self, temporary: Path, folder: str) -> None:
        """Save the logs of a stage that failed: why it did is in them."""
        with suppress(OSError, StoreError):
            for log in sorted(temporary.glob("*.log")):
                shutil.copyfile(log, self._own_folder(FAILED, folder) / log.name)

    def _seal(self, temporary: Path, folder: str) -> dict[str, FileRecord]:
        """Make every payload file durable and read-only, and describe it; keys are paths relative to the folder."""
        files = {}
        for path in sorted(temporary.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise StoreError(f"a stage wrote {path.relative_to(temporary)}, which is neither a file nor a folder")
            sync(path)
            if path.is_dir():
                continue
            path.chmod(0o444)
            name = refuse_unsafe(path.relative_to(temporary).as_posix())
            # Remembered under the name it is about to have: renaming the folder changes nothing in a file's stat.
            sha256 = self._memo.sha256(path, name=f"{folder}/{name}", trust=False)
            files[name] = FileRecord(size_bytes=path.stat().st_size, sha256=sha256)
        return files


def build_once(
    store: Store,
    stage: Stage,
    key: StageKey,
    *,
    node: str,
    inputs: Mapping[str, Path],
    parents: Mapping[str, Parent],
    run: RunOptions,
    on_wait: Callable[[], None] = lambda: None,
    on_queue: Callable[[str], None] = lambda _text: None,
    on_build: Callable[[], None] = lambda: None,
    changed_meanwhile: Callable[[], list[str]] = list,
) -> tuple[Artifact, bool]:
    """The output of `key`: reused if it is there and sound, otherwise built now. Returns it and whether it was built.

    Two processes that ask for one key build it once: the second waits for the first's lock and reuses. A damaged output
    is moved to quarantine and built again. What a killed build has kept in its scratch folder, the next one finds
    there. on_wait: called before a wait for another that builds it; what it raises ends the call. on_queue: hears which
    devices are waited for. changed_meanwhile: what of the key has ceased to be true by the end of the build. Raises
    whatever the stage raises for bad input, StoreFull and StoreError.

    A stage's devices come first, then its lock, so that one which only queues for a device keeps nobody else from
    building it. Nobody waits in a circle: who waits for devices holds no lock, and who waits for a lock holds no
    devices, because a lock that is not free at once gives them back. Whoever has both waits for nobody.
    """

    def build() -> tuple[Artifact, bool]:
        entry = importlib.import_module(stage.entry)
        with _leased(entry, key, run, on_queue, _leaves_queue(store, key)) as placed, store.lock(key, _give_way):
            found = store.get(key)
            if isinstance(found, Artifact):
                return store.share(found), False
            if isinstance(found, Damaged):
                store.quarantine(found)
            on_build()

            def write(out: Path) -> Made:
                made = entry.make(key.config, inputs, out, replace(placed, scratch=scratch), **key.values)
                assert isinstance(made, Made), f"{stage.entry}.make returned {type(made).__name__}"
                if changed := changed_meanwhile():
                    shutil.rmtree(scratch, ignore_errors=True)
                    raise StoreError(
                        f"{node} was not kept: while it was being built, {'; '.join(changed)}. Its bytes may be of "
                        "neither the old nor the new; run again"
                    )
                return made

            with store.scratch(key) as scratch:
                artifact = store.publish(key, stage=stage, write=write, node=node, parents=dict(parents))
            return store.share(artifact), True

    while True:
        found = store.get(key)
        if isinstance(found, Artifact) and store.is_shared(found):
            return found, False
        if isinstance(found, Artifact) or store.is_held(key.folder):
            with store.lock(key, on_wait):
                found = store.get(key)
                if isinstance(found, Artifact):
                    return store.share(found), False
        with suppress(_BuiltElsewhere):
            return build()


class _BuiltElsewhere(Exception):
    """Somebody else holds the key's lock."""


def _give_way() -> None:
    raise _BuiltElsewhere


def _leaves_queue(store: Store, key: StageKey) -> Callable[[], None]:
    """To be called while a stage queues for devices: raises _BuiltElsewhere once another has begun to build it."""
    looked_s = time.monotonic()

    def look() -> None:
        nonlocal looked_s
        if time.monotonic() - looked_s < _LOOK_EVERY_S:
            return
        with suppress(StoreError):  # an object store that does not answer: there is time to ask again
            if store.is_held(key.folder):
                raise _BuiltElsewhere
        looked_s = time.monotonic()

    return look


@contextmanager
def _leased(
    entry: ModuleType,
    key: StageKey,
    run: RunOptions,
    on_queue: Callable[[str], None],
    while_waiting: Callable[[], None],
) -> Iterator[RunOptions]:
    """The options with a lease of the devices that the stage needs; as they are for a stage that needs none."""
    names, count = entry.devices(key.config, run) if hasattr(entry, "devices") else ((), 0)
    if count == 0:
        yield run
        return
    with lease(run.lease_dir, names, count, log_line=on_queue, while_waiting=while_waiting) as leased:
        yield replace(run, lease=leased)


def written_by(path: Path) -> str:
    """The output whose lock guards a temporary folder: a process id would say nothing on another host."""
    return path.name.removeprefix(".tmp-").removeprefix(".get-").rpartition("-")[0]


def _provenance(made: Made, started: datetime, took_s: float) -> dict[str, Any]:
    """Where, when and how long, for the record; a GPU only if the stage says that it used one."""
    return {
        "wall_s": round(took_s, 3),
        "started_utc": started.isoformat(timespec="seconds"),
        "host": host_name(),
        "gpu": _gpu_of(made),
        "cpu": cpu_name(),
        "cores": core_count(),
        "ranks": made.facts.get("processes", 1),
        "git_commit": _git_commit(),
    }


def _gpu_of(made: Made) -> str | None:
    """The GPU a stage says that it used: by its product name, or as "cuda"."""
    device = made.facts.get("device")
    return gpu_name() if device == "cuda" else None if device in (None, "cpu") else str(device)


def _named_outputs(stage: Stage, files: Mapping[str, FileRecord], digests: Mapping[str, str]) -> dict[str, str]:
    """Digest of each named output: of its files (by name without folder), or the one the stage reported."""
    outputs = {}
    for output, patterns in stage.outputs.items():
        if not patterns:
            outputs[output] = digests[output]
            continue
        members = [
            (name.rsplit("/", 1)[-1], file.sha256)
            for name, file in files.items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        ]
        assert members, f"{stage.name} wrote no file for its output {output!r} ({', '.join(patterns)})"
        outputs[output] = combined(members)
    return outputs


def _no_space(error: BaseException) -> bool:
    """Whether a full device is behind `error`; libraries and child processes report it as text only."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return True
    return "No space left on device" in str(error) or "os error 28" in str(error)


def _concerns(error: OSError, root: Path) -> bool:
    return isinstance(error.filename, str | Path) and Path(error.filename).is_relative_to(root)


def store_error(error: Exception, root: Path) -> StoreError:
    if _no_space(error):
        free_bytes = shutil.disk_usage(root if root.exists() else root.parent).free
        return StoreFull(
            f"no space left for {root} ({free_bytes:,} bytes free); nothing was published. "
            "Free space (`pgolf gc --delete` removes what no result refers to) or choose another --store"
        )
    why = getattr(error, "strerror", None) or error
    return StoreError(f"the store {root} cannot be used: {why}. Check --store and its permissions")


@cache
def _git_commit() -> str | None:
    """Commit of the checkout this package runs from, with "+" when files differ from it; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes.strip() else "")
