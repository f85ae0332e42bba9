"""An artifact store in an object store, with a local folder as its cache.

Objects: payloads in `<stage>-<12 hex>/<file>`, records in `records/<stage>-<12 hex>.json`, locks in `locks/`, outputs
that failed verification in `quarantine/`, what was deleted in `bin/`, who uses the store in `using/` and
`collecting.json`, which results refer to it in `referring/`. A record is written last and only if absent, so a present
record means a complete output; all records share one prefix, so that listing 18,000 outputs lists nothing else. An
output is built and published in the local folder first, so an outage of the service loses no work.
"""

import fcntl
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pgolf.errors import StoreError, StoreFull, StoreUnreachable
from pgolf.identity.stage import StageKey
from pgolf.machine.flock import flock
from pgolf.machine.hardware import host_name
from pgolf.machine.lease import is_locked
from pgolf.store.artifact import (
    QUARANTINE,
    REFERRING,
    Artifact,
    Damaged,
    Store,
    store_error,
    written_by,
)
from pgolf.store.durable import put, sync, write_synced
from pgolf.store.output_record import FOLDER_PATTERN, MAX_RECORD_BYTES, RECORD_FILE, Record, parse_record
from pgolf.store.record_index import RecordIndex
from pgolf.store.remote import Changed, Remote
from pgolf.store.remote_bin import RemoteBin
from pgolf.store.remote_lock import Held, is_held, living_holder, remote_lock, still_held, wait_while_held
from pgolf.store.use import LOCKS, User, once

LEASE_S = 60.0
COLLECTING = "collecting.json"
_RECORD_ATTEMPTS = 8
_MAX_NOTE_BYTES = 16 << 20
# Outputs opened by this process: a shared lock on each, released by the kernel when the process ends.
_PINNED: dict[Path, int] = {}


class SharedStore(Store):
    """A local cache in front of an object store. limit_bytes: maximum size of the cache; None: unlimited."""

    def __init__(
        self, remote: Remote, cache: Path, *, limit_bytes: int | None = None, lease_s: float = LEASE_S
    ) -> None:
        super().__init__(cache)
        self.remote = remote
        self._limit_bytes, self._lease_s = limit_bytes, lease_s
        self._remote_index = RecordIndex(self.root / ".remote-records.sqlite")
        self._seen: dict[str, Record | Damaged | None] = {}
        self._leases: dict[str, Held] = {}
        self._collecting: Held | None = None

    @contextmanager
    def using(
        self, what: str, on_wait: Callable[[str], None] = lambda _text: None, *, make: bool = True
    ) -> Iterator[None]:
        """As in `Store`, on all machines: a leased object says so to those that would delete."""
        with super().using(what, on_wait), once(self.remote.url, lambda: self._together(what, on_wait)):
            yield

    @contextmanager
    def _together(self, what: str, on_wait: Callable[[str], None]) -> Iterator[None]:
        name = f"using/{host_name()}-{os.getpid()}-{secrets.token_hex(4)}.json"
        with ExitStack() as held:
            ours = remote_lock(
                self.remote, name, holder=str(User.here(what[:300])), lease_s=self._lease_s, on_wait=lambda: None
            )
            try:
                held.enter_context(ours).remove_at_end = True
            except StoreUnreachable:
                raise
            except StoreError as error:  # credentials that may only read, which must do for what is only reused
                on_wait(f"not protected from `pgolf gc` on other machines: {error}")
                yield
                return
            # Ours is written before theirs is read, and theirs before ours: one of us sees the other.
            wait_while_held(
                self.remote,
                COLLECTING,
                lease_s=self._lease_s,
                on_wait=lambda who: on_wait(f"waiting until nothing is deleted from {self.remote.url} any more: {who}"),
            )
            yield

    @contextmanager
    def alone(self, what: str, on_wait: Callable[[str], None] = lambda _text: None) -> Iterator[None]:
        """As in `Store`, on all machines. It takes a lease's time to know that a user is dead; on_wait is told then."""
        url, lease_s = self.remote.url, self._lease_s

        def say_other() -> None:
            on_wait(f"waiting for another deletion from {url} to end")

        with (
            super().alone(what),
            remote_lock(
                self.remote, COLLECTING, holder=str(User.here(what[:300])), lease_s=lease_s, on_wait=say_other
            ) as held,
        ):
            living = living_holder(
                self.remote,
                [f"using/{name}" for name in self.remote.listing("using/")],
                lease_s=lease_s,
                on_wait=lambda who: on_wait(f"looking for up to {lease_s:.0f} s whether these still run: {who}"),
            )
            if living is not None:
                raise StoreError(
                    f"{url} is in use, and what a run needs must not be deleted under it; run again when it has ended:"
                    f"\n  {living}"
                )
            self._collecting = held
            try:
                yield
            finally:
                self._collecting = None

    @property
    def remote_bin(self) -> RemoteBin:
        """What was deleted from the object store and can be taken back."""
        return RemoteBin(self.remote, self._refuse_lost_collection)

    def _refuse_lost_collection(self) -> None:
        if self._collecting is not None and not self._collecting.is_ours():
            raise StoreError(
                f"{self.remote.url} did not answer for so long that runs of others may have begun meanwhile; nothing "
                "more was deleted; run again"
            )

    def notes(self) -> Iterator[tuple[str, bytes]]:
        """As in `Store`: those in the object store."""
        for name in sorted(self.remote.listing(f"{REFERRING}/")):
            found = self.remote.read(f"{REFERRING}/{name}", max_bytes=_MAX_NOTE_BYTES)
            if found is not None:
                yield name.removesuffix(".json"), found[0]

    def write_note(self, name: str, content: bytes) -> None:
        """As in `Store`: the last writer's stays."""
        path = f"{REFERRING}/{name}.json"
        for _attempt in range(20):
            found = self.remote.read(path, max_bytes=_MAX_NOTE_BYTES)
            with suppress(Changed):
                self.remote.write(path, content, instead_of=Remote.ABSENT if found is None else found[1])
                return
        raise StoreError(f"{self.remote.url}/{path} is being written by others all the time; run again")

    def drop_note(self, name: str) -> None:
        """As in `Store`."""
        self.remote.remove(f"{REFERRING}/{name}.json")

    def look(self, key: StageKey, *, most_read_bytes: float = math.inf) -> Artifact | Damaged | None:
        """As in `Store`; for an output that only the object store has, its record decides, and files are verified when
        downloaded. An output found in the cache is pinned there until this process ends, whatever the cache's limit.
        """
        here = super().look(key, most_read_bytes=most_read_bytes)
        if isinstance(here, Artifact):
            self._pin(key.folder)
            return here
        there = self._remote_record(key.folder)
        if not isinstance(there, Record):
            return there or here
        if there.key_digest != key.digest:
            return Damaged(self.root / key.folder, f"{self._record_name(key.folder)} belongs to another key")
        return Artifact(self.root / key.folder, there)

    def get(self, key: StageKey) -> Artifact | Damaged | None:
        """As `look`, with the files downloaded and verified. Raises StoreError if the download fails."""
        found = self.look(key)
        return self._download_once(found.record) if isinstance(found, Artifact) else found

    def fetch(self, artifact: Artifact) -> Artifact:
        """As in `Store`. Raises StoreError if the output's objects are damaged."""
        found = self._download_once(artifact.record)
        if isinstance(found, Damaged):
            raise StoreError(f"{artifact.path.name}: {found.why}; `pgolf run` rebuilds it")
        return found

    def is_shared(self, artifact: Artifact) -> bool:
        """Whether the object store holds exactly this output's record."""
        there = self._remote_record(artifact.path.name)
        return isinstance(there, Record) and there.checksum == artifact.record.checksum

    def share(self, artifact: Artifact) -> Artifact:
        """Upload an output, its record last. If another process was first, its output replaces ours, so all agree.

        Raises StoreError if the upload fails; the output stays in the cache, and the next run uploads it.
        """
        folder = artifact.path.name
        held = self._leases.get(folder)
        try:
            if held is not None and not held.is_ours():
                self._seen.pop(folder, None)  # the new holder may have shared its own
            if self.is_shared(artifact):
                return artifact
            there = self._remote_record(folder)
            if isinstance(there, Damaged):
                self._quarantine_remote(folder)
            elif there is not None:
                return self._accept_remote(artifact, there)
            for name in sorted(artifact.record.files):
                self._refuse_lost_lease(folder)
                self.remote.upload(artifact.path / name, f"{folder}/{name}")
            self._refuse_lost_lease(folder)
            if (there := self._share_record(artifact)) is not None:
                return self._accept_remote(artifact, there)
        except StoreError as error:
            raise type(error)(
                f"{artifact.record.node} is finished and kept in {artifact.path}, but could not be shared: {error}"
            ) from None
        self._seen[folder] = artifact.record
        if held is not None:
            held.remove_at_end = True  # waiters check the record before the lock
        with suppress(StoreError):
            self._evict()
        return artifact

    def _share_record(self, artifact: Artifact) -> Record | None:
        """Write the record; returns that of another process if that was first."""
        folder, content = artifact.path.name, (artifact.path / RECORD_FILE).read_bytes()
        for attempt in range(_RECORD_ATTEMPTS):
            try:
                self.remote.write(self._record_name(folder), content, instead_of=Remote.ABSENT)
                return None
            except Changed:
                self._seen.pop(folder, None)
                there = self._remote_record(folder)
                if isinstance(there, Record):
                    return None if there.checksum == artifact.record.checksum else there
                time.sleep(0.05 * attempt)  # refused for the sake of a write that has not come to an end
        raise StoreError(f"{self._record_name(folder)} is being written by others all the time; run again")

    def _accept_remote(self, ours: Artifact, theirs: Record) -> Artifact:
        super().quarantine(Damaged(ours.path, "another process shared its own first"))
        return self.fetch(Artifact(ours.path, theirs))

    def _refuse_lost_lease(self, folder: str) -> None:
        held = self._leases.get(folder)
        if held is not None and not held.is_ours():
            raise StoreError("its lock was lost to another process while the service did not answer; run again")

    def records(self, stage: str | None = None) -> Iterator[Record]:
        """Valid records of the object store or of one stage, sorted by folder name; only new ones are downloaded."""
        start = "records/" if stage is None else f"records/{stage}-"
        wanted = {}
        for rest, (etag, _size) in self.remote.listing(start).items():
            folder = (start + rest).removeprefix("records/").removesuffix(".json")
            if FOLDER_PATTERN.fullmatch(folder) and (stage is None or folder.rpartition("-")[0] == stage):
                wanted[folder] = etag

        def read(folder: str) -> Record | None:
            there = self._remote_record(folder)
            return there if isinstance(there, Record) else None

        yield from self._remote_index.records(wanted, read, stage=stage)

    def is_held(self, folder: str) -> bool:
        """Whether a process on this or another machine is building the output."""
        return super().is_held(folder) or is_held(self.remote, self._lock_name(folder))

    @contextmanager
    def lock(self, key: StageKey, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """As in `Store`, plus a lock object against other machines."""
        notified: list[bool] = []

        def wait_once() -> None:
            if not notified:
                notified.append(True)
                on_wait()

        holder = f"{host_name()} pid {os.getpid()}"
        with (
            super().lock(key, wait_once),
            remote_lock(
                self.remote, self._lock_name(key.folder), holder=holder, lease_s=self._lease_s, on_wait=wait_once
            ) as held,
        ):
            self._leases[key.folder] = held
            # The previous holder may have shared the output meanwhile.
            self._seen.pop(key.folder, None)
            try:
                yield
            finally:
                del self._leases[key.folder]

    def quarantine(self, damaged: Damaged) -> Path:
        """Move a damaged output aside, locally and remotely; returns its path in the local folder."""
        folder = damaged.path.name
        if isinstance(self._seen.get(folder), Damaged):
            self._refuse_lost_lease(folder)
            self._quarantine_remote(folder)
        if os.path.lexists(damaged.path):
            return super().quarantine(damaged)
        return damaged.path

    def held(self) -> Iterator[str]:
        """Names of outputs being built, here or on other machines; it takes a lease's time to know of a dead holder."""
        yield from super().held()
        locks = [f"locks/{name}" for name in self.remote.listing("locks/")]
        for name in still_held(self.remote, locks, lease_s=self._lease_s):
            yield name.removeprefix("locks/").removesuffix(".json")

    def leftovers(self) -> Iterator[Path]:
        """As in `Store`, plus those of killed downloads."""
        yield from super().leftovers()
        for path in sorted(self.root.glob(".get-*")):
            if path.is_dir() and not is_locked(self._download_lock_path(written_by(path))):
                yield path

    def unneeded(self, needed: Set[str]) -> Iterator[tuple[str, int, str]]:
        """Garbage in the object store: (prefix of the objects, bytes, reason)."""
        sizes: dict[str, int] = {}
        recorded: set[str] = set()
        locked: set[str] = set()
        for name, (_etag, size_bytes) in self.remote.listing("").items():
            parts = name.split("/")
            if parts[0] in ("records", "locks"):
                (recorded if parts[0] == "records" else locked).add(parts[-1].removesuffix(".json"))
                continue
            prefix = "/".join(parts[:2] if parts[0] == QUARANTINE else parts[:1])
            sizes[prefix] = sizes.get(prefix, 0) + size_bytes
        for prefix, size_bytes in sorted(sizes.items()):
            if prefix.startswith(f"{QUARANTINE}/"):
                yield f"{prefix}/", size_bytes, "damaged, in quarantine"
            elif not FOLDER_PATTERN.fullmatch(prefix) or prefix in needed:
                continue  # not ours, or in use
            elif prefix in recorded:
                yield f"{prefix}/", size_bytes, "no result refers to it"
            elif prefix not in locked or not is_held(self.remote, self._lock_name(prefix)):
                yield f"{prefix}/", size_bytes, "left over from an unfinished upload"

    def put_aside(self, batch: str, prefix: str) -> None:
        """Move the objects below a prefix given by `unneeded` to the bin."""
        self.remote_bin.put_aside(batch, prefix.rstrip("/"))
        self._seen.pop(prefix.rstrip("/"), None)

    def remove(self, prefix: str) -> None:
        """Delete the objects below a prefix given by `unneeded`, an output's record first."""
        folder = prefix.rstrip("/")
        self._refuse_lost_collection()
        if FOLDER_PATTERN.fullmatch(folder):
            self.remote.remove(self._record_name(folder))
            self._seen.pop(folder, None)
        for name in self.remote.listing(prefix):
            self._refuse_lost_collection()
            self.remote.remove(prefix + name)

    def check_all(self) -> Iterator[tuple[str, int, str | None]]:
        """Download and verify every output: (folder, bytes, what is wrong with it or None)."""
        for name, (_etag, size_bytes) in sorted(self.remote.listing("records/").items()):
            folder = name.removesuffix(".json")
            if not FOLDER_PATTERN.fullmatch(folder):
                continue
            there = self._remote_record(folder)
            if isinstance(there, Record):
                size_bytes = there.size_bytes
                with self._download_folder(folder) as temporary:
                    there = self._download(there, temporary)
            yield folder, size_bytes, there.why if isinstance(there, Damaged) else None

    def _record_name(self, folder: str) -> str:
        return f"records/{folder}.json"

    def _lock_name(self, folder: str) -> str:
        return f"locks/{folder}.json"

    def _remote_record(self, folder: str) -> Record | Damaged | None:
        """The record in the object store, read once; Damaged if invalid."""
        if folder not in self._seen:
            found = self.remote.read(self._record_name(folder), max_bytes=MAX_RECORD_BYTES)
            self._seen[folder] = None if found is None else self._parsed(folder, found[0])
        return self._seen[folder]

    def _parsed(self, folder: str, content: bytes) -> Record | Damaged:
        path, name = self.root / folder, f"{self.remote.url}/{self._record_name(folder)}"
        try:
            record = parse_record(content)
        except StoreError as error:
            return Damaged(path, f"{name}: {error}")
        return record if record.folder == folder else Damaged(path, f"{name} belongs to {record.folder}")

    def _download_once(self, record: Record) -> Artifact | Damaged:
        """The output of `record` in the cache, downloaded on a miss."""
        path = self.root / record.folder
        self._pin(record.folder)
        with self._download_folder(record.folder) as temporary:
            if os.path.lexists(path):
                here = self.inspect(path)
                if isinstance(here, Artifact) and here.record.checksum == record.checksum:
                    with suppress(OSError):
                        os.utime(path)
                    return here
                super().quarantine(
                    here if isinstance(here, Damaged) else Damaged(path, "another process shared its own")
                )
            self._evict(for_bytes=record.size_bytes)
            broken = self._download(record, temporary)
            if broken is not None:
                self._seen[record.folder] = broken
                return broken
            write_synced(temporary / RECORD_FILE, record.to_bytes())
            sync(temporary)
            put(temporary, path)
        return Artifact(path, record)

    @contextmanager
    def _download_folder(self, folder: str) -> Iterator[Path]:
        """Hold the download lock of an output and yield a temporary path, which is removed after the block.

        Raises StoreError for errors of the local disk.
        """
        from filelock import FileLock  # a plan takes none

        try:
            self._own_folder(LOCKS)
            with FileLock(self._download_lock_path(folder)):
                for leftover in self.root.glob(f".get-{folder}-*"):  # left by a killed holder of this lock
                    leftover.unlink() if leftover.is_symlink() else shutil.rmtree(leftover)
                temporary = self.root / f".get-{folder}-{os.getpid()}"
                try:
                    yield temporary
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            raise store_error(error, self.root) from error

    def _download_lock_path(self, folder: str) -> Path:
        return self.root / LOCKS / f"{folder}.get.lock"

    def _download(self, record: Record, to: Path) -> Damaged | None:
        to.mkdir()
        path = self.root / record.folder
        wanted_bytes = record.size_bytes
        if wanted_bytes > (free_bytes := shutil.disk_usage(self.root).free):
            raise StoreFull(
                f"{record.folder} has {wanted_bytes:,} bytes, {self.root} has {free_bytes:,} free; "
                "free space or choose another --cache"
            )
        for name, file in sorted(record.files.items()):
            # Checked before the download: a wrong object may be far larger than expected.
            size_bytes = self.remote.size_bytes(f"{record.folder}/{name}")
            if size_bytes != file.size_bytes:
                has = "is missing" if size_bytes is None else f"has {size_bytes:,} bytes, expected {file.size_bytes:,}"
                return Damaged(path, f"{self.remote.url}/{record.folder}/{name} {has}")
            target = to / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self.remote.download(f"{record.folder}/{name}", target)
            target.chmod(0o444)
            known_as = f"{record.folder}/{name}"  # its final name
            if (
                target.stat().st_size != file.size_bytes
                or self._memo.sha256_in_store(target, known_as, trust=False) != file.sha256
            ):
                return Damaged(path, f"{self.remote.url}/{record.folder}/{name} altered")
        return None

    def _quarantine_remote(self, folder: str) -> None:
        """Move the objects of a damaged output aside, its record first, so that nobody takes it for complete."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        aside = f"{QUARANTINE}/{folder}.{stamp}.{host_name()}-{os.getpid()}"
        if self.remote.size_bytes(self._record_name(folder)) is not None:
            self.remote.copy(self._record_name(folder), f"{aside}/{RECORD_FILE}")
            self.remote.remove(self._record_name(folder))
        for name in self.remote.listing(f"{folder}/"):
            self.remote.copy(f"{folder}/{name}", f"{aside}/{name}")
            self.remote.remove(f"{folder}/{name}")
        self._seen.pop(folder, None)

    def _pin(self, folder: str) -> None:
        """Keep an output from being evicted until this process ends."""
        path = self.root / folder
        if path not in _PINNED:
            name = self._own_folder(LOCKS) / f"{folder}.use"
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            flock(descriptor, fcntl.LOCK_SH)
            _PINNED[path] = descriptor

    def _evict(self, for_bytes: int = 0) -> None:
        """Evict the least recently used outputs until `for_bytes` more fit under the limit.

        Outputs that a process has opened, or that are not in the object store yet, stay.
        """
        if self._limit_bytes is None:
            return
        kept = []
        for record in super().records():
            with suppress(OSError):
                used_s = (self.root / record.folder).stat().st_mtime
                kept.append((used_s, record.size_bytes, record))
        over_bytes = sum(size for _, size, _ in kept) + for_bytes - self._limit_bytes
        for _used_s, size_bytes, record in sorted(kept, key=lambda item: item[0]):
            if over_bytes <= 0:
                return
            artifact = Artifact(self.root / record.folder, record)
            if artifact.path not in _PINNED and self.is_shared(artifact) and self._drop(artifact.path):
                over_bytes -= size_bytes

    def _drop(self, path: Path) -> bool:
        """Remove an output from the cache atomically, unless a process uses it; returns whether it was removed."""
        descriptor = os.open(self._own_folder(LOCKS) / f"{path.name}.use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside = self.root / f".tmp-{path.name}-{os.getpid()}.{time.monotonic_ns()}"
            path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True
