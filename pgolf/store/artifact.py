"""The content-addressed artifact store: each output is built once under its key and verified whenever it is opened.

Layout: `<stage>-<12 hex>/` holds a payload and `record.json`; `quarantine/` what failed verification; `failed/` the
logs of failed stages; `partial/<stage>-<12 hex>/` the unfinished work from which a killed stage resumes; `bin/` what
was deleted and can be taken back; `referring/` which folders of results refer to the outputs.
`.locks/`, `.running/`, `.gone-*`, `.memo.sqlite`, `.records.sqlite`, `.sources.sqlite` and `.tmp-*`, and in the cache
of an object store `.remote-records.sqlite` and `.get-*`, are internal and may be deleted when nothing runs.
"""

import errno
import importlib
import math
import os
import shutil
import subprocess
import tempfile
import threading
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

from pgolf.errors import StoreError, StoreFull, StoreUnreadable
from pgolf.identity.closure import BYTES_NEUTRAL, EXPORT_LISTS
from pgolf.identity.fingerprint import canonical
from pgolf.identity.snapshot import CODE
from pgolf.identity.stage import Stage, StageKey
from pgolf.identity.watch import Watch, outside, watching
from pgolf.machine.beside import at_work
from pgolf.machine.hardware import core_count, cpu_name, gpu_name, host_name
from pgolf.machine.lack import full_disk, is_full, lack_of, no_space
from pgolf.machine.lease import is_locked, lease
from pgolf.run_options import Made, RunOptions
from pgolf.store.bin import Bin
from pgolf.store.content import Memo, combined, signature, signature_text
from pgolf.store.durable import put, sync, write_synced
from pgolf.store.durable_folder import make_folder
from pgolf.store.output_record import (
    FOLDER_PATTERN,
    RECORD_FILE,
    FileRecord,
    Parent,
    Record,
    read_record,
    refuse_unreadable,
    refuse_unsafe,
)
from pgolf.store.plain_file import read_plain
from pgolf.store.record_index import RecordIndex
from pgolf.store.use import LOCKS, alone, using

QUARANTINE = "quarantine"
FAILED = "failed"
PARTIAL = "partial"
REFERRING = "referring"
# Files and folders by which a store is known for one; any of them may be missing.
_SIGNS = (".memo.sqlite", ".records.sqlite", ".sources.sqlite", REFERRING, f"{LOCKS}/store")
# What disks and file servers answer. A failed write or sync names no file.
OF_A_DISK = (errno.EIO, errno.EROFS, errno.EFBIG, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT)
# How often a stage that queues for devices checks whether another process has begun to build the same output.
_POLL_EVERY_S = 1.0
# Where one thread imports a package, Python lets another have it unfinished as soon as that asks for a module inside.
_IMPORTING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A complete, verified output of a stage: its folder and its record.

    unverified_bytes: bytes in files checked by size alone, because the caller limited what may be read.
    """

    path: Path
    record: Record
    unverified_bytes: int = 0

    @property
    def outputs(self) -> Mapping[str, str]:
        """Output name -> digest, 64 hex digits."""
        return self.record.outputs


@dataclass(frozen=True, slots=True)
class Damaged:
    """An output folder that must not be used; `why` names the file and what is wrong with it."""

    path: Path
    why: str


class Store:
    """An artifact store in a local or shared folder; it never reads or writes outside it."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._memo = Memo(self.root / ".memo.sqlite")
        self._index = RecordIndex(self.root / ".records.sqlite")

    @contextmanager
    def using(
        self, what: str, on_wait: Callable[[str], None] = lambda _text: None, *, make: bool = True
    ) -> Iterator[None]:
        """Keep everything in the store from being deleted inside the block; waits while another process deletes.

        what: our command, for others to read. on_wait: told once whom we wait for. make: make the store's folder if
        need be; else a store that is not there yet is not held.
        """
        if not make and not self.root.is_dir():
            yield
            return
        with using(self.root, what, on_wait):
            yield

    @contextmanager
    def alone(self, what: str, on_wait: Callable[[str], None] = lambda _text: None) -> Iterator[None]:
        """Have the store to ourselves inside the block, to delete. Raises StoreError naming who uses it."""
        with alone(self.root, what):
            yield

    @property
    def bin(self) -> Bin:
        """What was deleted from this folder and can be taken back."""
        return Bin(self.root, (QUARANTINE, FAILED, PARTIAL))

    def notes(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each note about a folder of results that refers to the store."""
        folder = self.root / REFERRING
        try:
            if folder.is_symlink():
                raise NotADirectoryError(errno.ENOTDIR, "a link, not a folder", str(folder))
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(".json") and entry.name[0] != ".")
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unreadable_note(error, folder) from None
        for name in names:
            try:
                yield name.removesuffix(".json"), read_plain(folder / name, follow_links=False)
            except FileNotFoundError:  # dropped meanwhile
                continue
            except OSError as error:
                raise _unreadable_note(error, folder / name) from None

    def is_store(self) -> bool:
        """Whether the folder holds what only a store has, or nothing at all."""
        if any((self.root / name).exists() for name in _SIGNS):
            return True
        try:
            return not any(self.root.iterdir()) or any(self.artifacts())
        except OSError:
            return False

    def write_note(self, name: str, content: bytes) -> None:
        """Write such a note, or write it anew. Raises StoreError."""
        try:
            folder = self._own_folder(REFERRING)
            unfinished = folder / f".{name}.{os.getpid()}.tmp"
            write_synced(unfinished, content)
            put(unfinished, folder / f"{name}.json")
        except OSError as error:
            raise store_error(error, self.root) from error

    def drop_note(self, name: str) -> None:
        """Remove such a note."""
        try:
            (self.root / REFERRING / f"{name}.json").unlink(missing_ok=True)
        except OSError as error:
            raise store_error(error, self.root) from error

    def save_memo(self) -> None:
        """Save the digest cache for the next process."""
        self._memo.save()

    def look(self, key: StageKey, *, most_read_bytes: float = math.inf) -> Artifact | Damaged | None:
        """Find and verify the output of `key`, without side effects; None if absent. most_read_bytes: see `inspect`."""
        path = self.root / key.folder
        if not os.path.lexists(path):
            return None
        found = self.inspect(path, most_read_bytes=most_read_bytes)
        if isinstance(found, Artifact) and found.record.key_digest != key.digest:
            return Damaged(path, f"{RECORD_FILE} belongs to another key with the same first 12 digits")
        return found

    def at(self, folder: str) -> Artifact | Damaged | None:
        """The output in the folder of that name, whatever its key, with its files here; None if there is none."""
        path = self.root / folder
        if os.path.lexists(path):
            return self.inspect(path)
        stage = folder.rpartition("-")[0]
        found = next((record for record in self.records(stage) if record.folder == folder), None)
        return None if found is None else self.fetch(Artifact(path, found))

    def get(self, key: StageKey) -> Artifact | Damaged | None:
        """As `look`, but downloads the output's files first if only the object store has them."""
        return self.look(key)

    def fetch(self, artifact: Artifact) -> Artifact:
        """Make the files of an output found by `look` available in this folder. Raises StoreError if that fails."""
        return artifact

    def is_shared(self, artifact: Artifact) -> bool:
        """Whether the output is available to all users of this store."""
        return True

    def share(self, artifact: Artifact) -> Artifact:
        """Make the output available to all users of this store, under the caller's lock. Returns the shared one."""
        return artifact

    def inspect(self, path: Path, *, trust: bool = True, most_read_bytes: float = math.inf) -> Artifact | Damaged:
        """Verify a folder against its record: every file present, with the recorded size and SHA-256.

        trust: do not rehash files that are unchanged since their last hash. most_read_bytes: if more would have to be
        hashed, check sizes only. Raises StoreUnreadable where something is there and cannot be read.
        """
        if path.is_symlink() or not path.is_dir():
            return Damaged(path, "it is not a folder inside the store")
        try:
            record = read_record(path)
        except StoreUnreadable:
            raise
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
            return sum(self._memo.unread_in_store_bytes(path / name, f"{path.name}/{name}") for name in record.files)
        except OSError:
            return 0  # _wrong_content meets the same error and names the file

    def _wrong_size(self, path: Path, file: FileRecord) -> str | None:
        try:
            if path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(self.root.resolve()):
                return "missing" if not path.exists() else "is not a regular file inside the store"
            size_bytes = path.stat().st_size
            if size_bytes != file.size_bytes:
                return f"has {size_bytes:,} bytes, expected {file.size_bytes:,}"
        except OSError as error:
            refuse_unreadable(error, path)
            return f"cannot be read: {error.strerror}"
        return None

    def _wrong_content(self, path: Path, file: FileRecord, trust: bool) -> str | None:
        name = str(path.relative_to(self.root))
        try:
            # What is remembered may be wrong: nothing is called altered that was not read.
            if trust and self._memo.sha256_in_store(path, name) == file.sha256:
                return None
            return None if self._memo.sha256_in_store(path, name, trust=False) == file.sha256 else "altered"
        except OSError as error:
            refuse_unreadable(error, path)
            return f"cannot be read: {error.strerror}"

    def artifacts(self) -> Iterator[Path]:
        """Folders named like outputs, sorted by name."""
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
        """Valid records of the store or of one stage, sorted by folder name; payload files are not verified."""
        wanted = {}
        for folder in self._folders(stage):
            with suppress(OSError):
                wanted[folder] = signature_text(signature(f"{self.root}/{folder}/{RECORD_FILE}"))
        yield from self._index.records(wanted, self._read, stage=stage)

    def _read(self, folder: str) -> Record | None:
        try:
            record = read_record(self.root / folder)
        except StoreError:
            return None
        return record if record.folder == folder else None

    def is_held(self, folder: str) -> bool:
        """Whether a process on any host holds the lock under which this output is written."""
        return is_locked(self.root / LOCKS / f"{folder}.lock")

    def held(self) -> Iterator[str]:
        """Names of outputs that are being built."""
        for path in self.root.glob(".tmp-*"):
            folder = written_by(path)
            if self.is_held(folder):
                yield folder

    def leftovers(self) -> Iterator[Path]:
        """Temporary folders of dead writers."""
        for path in sorted(self.root.glob(".tmp-*")):
            if path.is_dir() and not self.is_held(written_by(path)):
                yield path

    @contextmanager
    def lock(self, key: StageKey, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the key's lock; the kernel releases it when the holder dies.

        on_wait: called before blocking; it may raise to avoid the wait.
        """
        from filelock import FileLock, Timeout  # a plan takes none

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
        """Path of the scratch folder of `key`; it need not exist."""
        return self.root / PARTIAL / key.folder

    @contextmanager
    def scratch(self, key: StageKey) -> Iterator[Path]:
        """Provide the scratch folder of `key` for unfinished work, under the caller's lock.

        It survives kills and failures, and is removed once the block succeeds.
        """
        try:
            folder = self._own_folder(PARTIAL, key.folder)
        except OSError as error:
            raise store_error(error, self.root) from error
        try:
            yield folder
        except BaseException:
            with suppress(OSError):
                folder.rmdir()  # succeeds only if empty
            raise
        shutil.rmtree(folder, ignore_errors=True)

    def quarantine(self, damaged: Damaged) -> Path:
        """Move a damaged folder aside for inspection; returns its new path."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        try:
            target = self._own_folder(QUARANTINE) / f"{damaged.path.name}.{stamp}.{os.getpid()}"
            damaged.path.rename(target)
        except OSError as error:
            raise store_error(error, self.root) from error
        return target

    def _own_folder(self, *parts: str) -> Path:
        """Create an internal folder if needed. Raises StoreError if a symbolic link stands in its place."""
        path = self.root
        for part in parts:
            path = path / part
            if path.is_symlink():
                raise StoreError(f"{path} is a link, and the store writes only inside its own folder; remove the link")
        make_folder(path)
        return path

    def publish(self, key: StageKey, *, stage: Stage, write: Callable[[Path], Made], **about: object) -> Artifact:
        """Write a payload and its record in a temporary folder and rename it into place, under the caller's lock.

        about: node, parents and, for an adoption, adopted and the source's provenance, as in `Record`. Raises StoreFull
        or StoreError if the store cannot be written to; the output's name never refers to a half-written folder.
        """
        started = datetime.now(UTC)
        clock = time.perf_counter()
        temporary = self.root / f".tmp-{key.folder}-{os.getpid()}"
        try:
            for leftover in self.root.glob(f".tmp-{key.folder}-*"):  # left by a killed holder of this lock
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
            if no_space(error) or (isinstance(error, OSError) and _concerns(error, self.root)):
                raise store_error(error, self.root) from error
            if isinstance(error, OSError) and error.filename is None and error.errno in OF_A_DISK:
                raise StoreError(
                    f"a disk failed while {key.folder} was made in {self.root}: {error.strerror}; nothing was "
                    "published. Check the disk of the store, and those of what the stage reads; then run again"
                ) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return Artifact(self.root / key.folder, record)

    def _keep_logs(self, temporary: Path, folder: str) -> None:
        """Keep the logs of a failed stage for diagnosis."""
        with suppress(OSError, StoreError):
            for log in sorted(temporary.glob("*.log")):
                shutil.copyfile(log, self._own_folder(FAILED, folder) / log.name)

    def _seal(self, temporary: Path, folder: str) -> dict[str, FileRecord]:
        """fsync every payload file, make it read-only and record it; keys are paths relative to the folder."""
        files = {}
        for path in sorted(temporary.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise StoreError(f"a stage wrote {path.relative_to(temporary)}, which is neither a file nor a folder")
            sync(path)
            if path.is_dir():
                continue
            path.chmod(0o444)
            name = refuse_unsafe(path.relative_to(temporary).as_posix())
            # Cached under its final name: renaming the folder does not change a file's stat.
            sha256 = self._memo.sha256_in_store(path, f"{folder}/{name}", trust=False)
            files[name] = FileRecord(size_bytes=path.stat().st_size, sha256=sha256)
        return files


def import_entry(module: str) -> ModuleType:
    """A stage's entry module, imported by one thread at a time."""
    with _IMPORTING:
        return importlib.import_module(module)


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
    """Reuse the verified output of `key` (cache hit) or build it now. Returns the output and whether it was built.

    If two processes want the same key, the second waits for the first's lock and reuses its output. A damaged output is
    quarantined and rebuilt. A build resumes from the scratch folder of a killed one. on_wait: called before waiting for
    another builder; it may raise to end the call. on_queue: told which devices are waited for. changed_meanwhile:
    returns which parts of the key no longer hold at the end of the build. Raises whatever the stage raises for bad
    input, StoreFull and StoreError.

    Devices are leased before the key's lock is taken, so that a process queueing for a device does not keep others from
    building. This cannot deadlock: nobody holds a lock while waiting for devices, and nobody holds devices while
    waiting for a lock, since they are returned unless the lock is free at once. Whoever has both waits for nobody.
    """

    def build() -> tuple[Artifact, bool]:
        entry = import_entry(stage.entry)
        queue_check = _queue_check(store, key)
        with _leased(entry, key, run, on_queue, queue_check) as placed, store.lock(key, _raise_built_elsewhere):
            found = store.get(key)
            if isinstance(found, Artifact):
                return store.share(found), False
            if isinstance(found, Damaged):
                store.quarantine(found)
            on_build()

            def write(out: Path) -> Made:
                watch = Watch(
                    node,
                    (*inputs.values(), out, scratch),
                    modules={*key.code, *BYTES_NEUTRAL, *EXPORT_LISTS},
                    network=stage.network,
                )
                report, log_line = outside(placed.report), outside(placed.log_line)
                given = replace(placed, scratch=scratch, report=report, log_line=log_line)
                own_cores = entry.own_cores(key.config, placed) if hasattr(entry, "own_cores") else ()
                with at_work(run.lease_dir, node, own_cores) as beside:
                    if own_cores and placed.lease is not None:
                        given = replace(given, lease=replace(placed.lease, cores=beside.cores))
                    with watching(watch):
                        made = entry.make(key.config, inputs, out, given, **key.values)
                assert isinstance(made, Made), f"{stage.entry}.make returned {type(made).__name__}"
                if own_cores:
                    made = replace(made, facts={**made.facts, "ran_beside": beside.said()})
                if changed := changed_meanwhile():
                    shutil.rmtree(scratch, ignore_errors=True)
                    raise StoreError(
                        f"{node} was not kept: while it was being built, {'; '.join(changed)}. Its bytes may match "
                        "neither the old state nor the new; run again"
                    )
                return made

            with store.scratch(key) as scratch:
                artifact = store.publish(key, stage=stage, write=write, node=node, parents=dict(parents))
            return store.share(artifact), True

    with store.using(f"a build of {node}", on_queue):
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
    """Another process holds the key's lock."""


def _raise_built_elsewhere() -> None:
    raise _BuiltElsewhere


def _queue_check(store: Store, key: StageKey) -> Callable[[], None]:
    """A callback for the device queue: raises _BuiltElsewhere once another process has begun to build the output."""
    checked_s = time.monotonic()

    def check() -> None:
        nonlocal checked_s
        if time.monotonic() - checked_s < _POLL_EVERY_S:
            return
        with suppress(StoreError):  # an object store that does not answer is asked again later
            if store.is_held(key.folder):
                raise _BuiltElsewhere
        checked_s = time.monotonic()

    return check


@contextmanager
def _leased(
    entry: ModuleType,
    key: StageKey,
    run: RunOptions,
    on_queue: Callable[[str], None],
    while_waiting: Callable[[], None],
) -> Iterator[RunOptions]:
    """The run options plus a lease on the devices the stage needs; unchanged if it needs none."""
    names, count = entry.devices(key.config, run) if hasattr(entry, "devices") else ((), 0)
    if count == 0:
        yield run
        return
    with lease(run.lease_dir, names, count, log_line=on_queue, while_waiting=while_waiting) as leased:
        yield replace(run, lease=leased)


def written_by(path: Path) -> str:
    """Name of the output whose lock guards a temporary folder (the pid in its name means nothing on another host)."""
    return path.name.removeprefix(".tmp-").removeprefix(".get-").rpartition("-")[0]


def _provenance(made: Made, started: datetime, took_s: float) -> dict[str, Any]:
    """Where, when and how long an output was built; the GPU only if the stage reports using one."""
    return {
        "wall_s": round(took_s, 3),
        "started_utc": started.isoformat(timespec="microseconds"),  # within one second, too, one is the latest
        "host": host_name(),
        "gpu": _gpu_of(made),
        "cpu": cpu_name(),
        "cores": core_count(),
        "ranks": made.facts.get("processes", 1),
        "git_commit": _git_commit(),
    }


def _gpu_of(made: Made) -> str | None:
    """The GPU that a stage reports to have used: its product name, or the device as reported."""
    device = made.facts.get("device")
    return gpu_name() if device == "cuda" else None if device in (None, "cpu") else str(device)


def _named_outputs(stage: Stage, files: Mapping[str, FileRecord], digests: Mapping[str, str]) -> dict[str, str]:
    """Digest of each named output: over its files (by name without folder), or as reported by the stage."""
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


def _concerns(error: OSError, root: Path) -> bool:
    return isinstance(error.filename, str | Path) and Path(error.filename).is_relative_to(root)


def _unreadable_note(error: OSError, path: Path) -> StoreError:
    return StoreError(
        f"{path} cannot be read: {error.strerror}; it says which results need what in the store. Make it readable, or "
        "remove it and name all folders of results with --results"
    )


def store_error(error: Exception, root: Path) -> StoreError:
    if no_space(error):
        if not is_full(root) and is_full(Path(tempfile.gettempdir())):
            return StoreFull(f"{full_disk([Path(tempfile.gettempdir())])}; nothing was published")
        free_bytes = shutil.disk_usage(root if root.exists() else root.parent).free
        return StoreFull(
            f"no space left for {root} ({free_bytes:,} bytes free, without its unfinished files); nothing was "
            "published. Free space (`pgolf gc --delete` removes what no result refers to; --now does so at once, "
            "without the bin, and --empty-bin empties that) or choose another --store"
        )
    if lack := lack_of(error, [root]):
        return StoreError(f"the store {root} cannot be used: {lack}")
    why = getattr(error, "strerror", None) or error
    return StoreError(f"the store {root} cannot be used: {why}. Check --store and its permissions")


@cache
def _git_commit() -> str | None:
    """Git commit of the code that runs, with "+" if tracked files were modified.

    None outside a checkout, and where our files are no longer those that this process runs.
    """
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
    return commit + ("+" if changes.strip() else "") if CODE.is_on_disk() else None
