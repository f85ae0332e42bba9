"""Maintenance of a store: verify every file, collect garbage, adopt an output under a new key."""

import getpass
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pgolf.errors import StoreError, StoreUnreadable
from pgolf.identity.fingerprint import canonical
from pgolf.pipeline.graph import Node, key_of
from pgolf.pipeline.placement import Hardware
from pgolf.recipes.recipe import STAGES
from pgolf.run_options import Made
from pgolf.store.artifact import FAILED, PARTIAL, QUARANTINE, Artifact, Damaged, Store
from pgolf.store.bin import new_batch_name
from pgolf.store.content import Memo
from pgolf.store.differences import differences, nearest
from pgolf.store.output_record import FOLDER_PATTERN, PROVENANCE, Adoption, Record, read_record
from pgolf.store.shared import SharedStore


@dataclass(frozen=True, slots=True)
class Checked:
    """One folder after verification; `why` is None where it is sound."""

    folder: str
    size_bytes: int
    why: str | None


def verify(store: Store) -> Iterator[Checked]:
    """Hash every file of every output again and compare with the records. Raises StoreError where there is no store."""
    if not store.root.is_dir() and not isinstance(store, SharedStore):
        raise StoreError(f"there is no store at {store.root}; name it with --store")
    for path in store.artifacts():
        try:
            found = store.inspect(path, trust=False)
            why = found.why if isinstance(found, Damaged) else None
        except StoreUnreadable as error:
            why = str(error)
        yield Checked(path.name, _size_bytes(path), why)
    if isinstance(store, SharedStore):
        for folder, size_bytes, why in store.check_all():
            yield Checked(f"{store.remote.url}/{folder}", size_bytes, why)
    store.save_memo()


Kind = Literal["outputs", "damaged", "leftovers", "logs", "unfinished", "checkpoints", "data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """A folder that nothing refers to, and why it may go; or the objects below a prefix of an object store.

    wall_s, hardware: what it took to make it, and on what; None and "" where no record says so. written_s: when it was
    last written to, in seconds since 1970; None where that is not known. made_from: folders of the outputs it read.
    """

    path: Path
    size_bytes: int
    why: str
    kind: Kind
    objects: str = ""
    wall_s: float | None = None
    hardware: str = ""
    written_s: float | None = None
    made_from: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What to call it: the folder's name, or the prefix."""
        return self.objects or self.path.name

    @property
    def is_shared(self) -> bool:
        """Whether it lies in an object store, which others use too, and not in a folder here."""
        return bool(self.objects)

    @property
    def output(self) -> str | None:
        """The folder of the output that it is, or is a copy of; None where it is none."""
        name = self.name.rstrip("/")
        return name if self.kind in ("outputs", "checkpoints", "data") and FOLDER_PATTERN.fullmatch(name) else None


def garbage(store: Store, kept: Collection[str]) -> list[Garbage]:
    """What may be removed: outputs outside the chains of `kept` (folders that results name), quarantine, leftovers,
    logs of failures and unfinished work of runs that are no more.

    A kept output keeps everything it was made from: without its parents' records a later run could not name its inputs
    and would make them again. It stays when its own record is damaged. Raises StoreUnreadable where that is there and
    cannot be read, since nobody knows then what it was made from.
    """
    records = {record.folder: record for record in store.records()}
    if isinstance(store, SharedStore):  # and what could not be uploaded yet
        records |= {record.folder: record for record in Store.records(store)}
    needed: set[str] = set()
    waiting = [*kept]
    while waiting:
        folder = waiting.pop()
        if folder in needed:
            continue
        needed.add(folder)
        if folder in records:
            waiting += [parent.folder for parent in records[folder].parents.values()]
        elif FOLDER_PATTERN.fullmatch(folder):
            _refuse_unreadable(store.root / folder)

    def here(path: Path, why: str, kind: Kind, record: Record | None = None) -> Garbage:
        size_bytes, written_s = measured(path)
        return Garbage(path=path, size_bytes=size_bytes, why=why, kind=kind, written_s=written_s, **_made(record))

    found = []
    for path in store.artifacts():
        if path.name not in needed:
            record = records.get(path.name)
            why = "no result refers to it" if record is not None else "no readable record"
            found.append(here(path, why, _kind_of(path.name, record), record))
    for path in _inside(store.root / QUARANTINE):
        kind = _kind_of(path.name, None)
        found.append(here(path, "damaged, in quarantine", "damaged" if kind == "outputs" else kind))
    for path in _inside(store.root / PARTIAL):
        if path.is_dir() and not store.is_held(path.name):
            found.append(here(path, "unfinished work; the next run of it would go on from there", "unfinished"))
    for path in _inside(store.root / FAILED):
        if path.is_dir() and not store.is_held(path.name):
            found.append(here(path, "logs of a stage that failed", "logs"))
    for path in store.leftovers():
        found.append(here(path, "left over from a killed process", "leftovers"))
    if isinstance(store, SharedStore):
        for prefix, size_bytes, why in store.unneeded(needed):
            folder = prefix.rstrip("/")
            record = records.get(folder)
            kind = _kind_of(folder.rpartition("/")[2], record)
            if record is None and kind == "outputs":
                kind = "damaged" if folder.startswith(f"{QUARANTINE}/") else "leftovers"
            made = _made(record)
            written_s = None if record is None else datetime.fromisoformat(record.started_utc).timestamp()
            found.append(
                Garbage(
                    path=Path(prefix),
                    size_bytes=size_bytes,
                    why=why,
                    kind=kind,
                    objects=prefix,
                    written_s=written_s,
                    **made,
                )
            )
    return found


def _refuse_unreadable(folder: Path) -> None:
    try:
        read_record(folder)
    except StoreUnreadable:
        raise
    except StoreError:
        return


def _made(record: Record | None) -> dict[str, Any]:
    """What a record says of the price of an output and of what it was made from."""
    if record is None:
        return {}
    hardware = Hardware.of(record)
    return {
        # Killed runs that it went on from were paid for, too.
        "wall_s": record.wall_s + record.phases_s.get("before", 0.0),
        "hardware": str(hardware) if hardware is not None else record.gpu or record.host,
        "made_from": tuple(parent.folder for parent in record.parents.values()),
    }


def _kind_of(folder: str, record: Record | None) -> Kind:
    """By what an output holds; where no record says so, by the stage that its name begins with."""
    stage = STAGES.get(folder.partition("-")[0])
    holds = record.outputs.keys() if record is not None else stage.outputs.keys() if stage is not None else ()
    if "checkpoint" in holds:
        return "checkpoints"
    return "data" if "train" in holds or "val" in holds else "outputs"


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder of the store, sorted; nothing where a link leads out of it."""
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def refuse_while_building(store: Store) -> None:
    """Raise StoreError when a run is writing to the store: what it has built but not yet filed would look unused."""
    for folder in store.held():
        raise StoreError(f"{folder} is being written by a run; delete when no run uses {store.root}")


def put_aside(store: Store, garbage_found: Sequence[Garbage]) -> str | None:
    """Put the folders and objects into the store's bin; returns the batch's name there, None where there is nothing.

    The caller has the store to itself. Raises StoreError naming the first that cannot be moved; what went before it
    lies in the bin.
    """
    if not garbage_found:
        return None
    batch = new_batch_name()
    if folders := [item for item in garbage_found if not item.objects]:
        about = {"items": [{"path": str(item.path), "why": item.why, "wall_s": item.wall_s} for item in folders]}
        store.bin.put_aside(batch, [item.path for item in folders], about)
    for item in garbage_found:
        if item.objects:
            assert isinstance(store, SharedStore)
            store.put_aside(batch, item.objects)
    return batch


def delete(store: Store, garbage_found: Sequence[Garbage]) -> None:
    """Remove the folders and objects for good. Raises StoreError naming the first that cannot be removed."""
    for item in garbage_found:
        if item.objects:
            assert isinstance(store, SharedStore)
            store.remove(item.objects)
        else:
            store.bin.remove(item.path)


def adopt(
    node: Node, parents: dict[str, Artifact], store: Store, memo: Memo, *, why: str, source: str | None = None
) -> Artifact:
    """Give an existing output the key that the present code would give it, saying who, when and why in its record.

    For a refactor that changes no bytes. source: folder to adopt; default the latest of this node whose key differs in
    code alone. Raises StoreError when there is none, when the source is damaged, or when anything that is not code,
    tools or stage version differs: such an output is another output.
    """
    if not why.strip():
        raise StoreError('an adoption needs a reason: --why "moved the loop, same bytes"')
    key = key_of(node, parents, memo)
    found = store.look(key)
    if isinstance(found, Artifact):
        raise StoreError(f"{node.name} is up to date ({found.path.name}); nothing to adopt")
    wanted = canonical(key.fields())
    assert isinstance(wanted, dict)
    record = _candidate(node, store, wanted, source)
    old = store.fetch(Artifact(store.root / record.folder, record))
    checked = store.inspect(old.path)
    if isinstance(checked, Damaged):
        raise StoreError(f"{record.folder} cannot be adopted: {checked.why}")
    changed = tuple(differences(record.key, wanted))
    adoption = Adoption(
        source=record.folder,
        who=_user(),
        when_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        why=why.strip(),
        changed=changed,
    )

    def write(out: Path) -> Made:
        for name in record.files:
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(old.path / name, target)
        return Made(digests=record.outputs, phases_s=record.phases_s, facts=record.facts)

    with store.lock(key):
        if isinstance(found, Damaged):
            store.quarantine(found)
        # Made when and where the source was made: a copy's seconds would pass for the stage's.
        about = record.model_dump(include=PROVENANCE)
        adopted = store.publish(
            key, stage=node.stage, write=write, node=node.name, parents=record.parents, adopted=adoption, **about
        )
        return store.share(adopted)


def _candidate(node: Node, store: Store, wanted: dict[str, Any], source: str | None) -> Record:
    records = list(store.records(node.stage.name))
    if source is not None:
        records = [record for record in records if record.folder == source]
        if not records:
            raise StoreError(f"the store has no {node.stage.name} output named {source}; `pgolf verify` lists them")
    same = [record for record in records if _same_but_for_code(record.key, wanted)]
    if not same:
        found = nearest(records, wanted, lambda record: record.started_utc)
        changed = found[1] if found is not None else ["never built"]
        raise StoreError(
            f"no {node.stage.name} output differs from {node.name} in code alone; the nearest differs in: "
            + "; ".join(changed[:4])
        )
    return max(same, key=lambda record: record.started_utc)


def _same_but_for_code(old: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(old.get(part) == wanted.get(part) for part in ("stage", "config", "inputs", "values", "hardware"))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such account, as in some containers
        return f"uid {os.getuid()}"


def _size_bytes(path: Path) -> int:
    return measured(path)[0]


def measured(path: Path) -> tuple[int, float]:
    """Bytes of all regular files in a folder, and when anything in it was last written; links are not followed."""
    size_bytes, written_s = 0, 0.0
    for inner in (path, *path.rglob("*")):
        with suppress(OSError):  # gone meanwhile
            found = inner.lstat()
            written_s = max(written_s, found.st_mtime)
            size_bytes += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return size_bytes, written_s
