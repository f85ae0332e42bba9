"""The bin of a store: what was deleted lies in `bin/<batch>/` under the name it had in the store, until it is emptied.

Putting aside and taking back are renames, one per folder, and where each lies is all there is to know: a process that
is killed in the middle leaves every folder whole, here or there, and the next one goes on. What is really removed is
renamed to `.gone-*` first, so that no half-removed folder bears a name that anything looks for.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pgolf.errors import StoreError
from pgolf.store.durable import put, sync, write_synced
from pgolf.store.durable_folder import make_folder

BIN = "bin"
GONE = ".gone-"
ABOUT = "about.json"
# As `new_batch_name` makes them; whatever else lies there is not ours.
_BATCH = re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one deletion put aside. items: paths relative to the store, as they were."""

    path: Path
    items: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.path.name


def new_batch_name() -> str:
    """A name for what is deleted now, in the order of time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


class Bin:
    """The bin of the store in folder `root`. groups: folders of the store whose entries are put aside one by one.

    Every method raises StoreError naming what could not be moved; the caller has the store to itself.
    """

    def __init__(self, root: Path, groups: Sequence[str]) -> None:
        self._root, self._groups = root, groups
        self.folder = root / BIN

    def put_aside(self, batch: str, paths: Iterable[Path], about: Mapping[str, object]) -> None:
        """Move files and folders of the store to the bin. about: kept beside them, for people to read."""
        self._refuse_link()
        target = self.folder / batch
        try:
            make_folder(target)
            with suppress(OSError):  # on a full disk
                write_synced(target / ABOUT, json.dumps(about, indent=1).encode())
        except OSError as error:
            raise StoreError(f"{target} cannot be made: {error.strerror}; --now deletes without the bin") from None
        for path in paths:
            self._move(path, target / path.relative_to(self._root))

    def batches(self) -> list[Batch]:
        """What lies in the bin, the oldest first."""
        if self.folder.is_symlink() or not self.folder.is_dir():
            return []
        found = []
        for path in sorted(self.folder.iterdir()):
            if _BATCH.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                found.append(Batch(path, tuple(self._items(path))))
        return found

    def take_back(self, batch: Batch, items: Sequence[str]) -> tuple[list[str], list[str]]:
        """Move items of a batch to where they were; returns them and those whose place is taken, which stay."""
        back, taken = [], []
        for item in items:
            target = self._root / item
            if os.path.lexists(target):
                taken.append(item)
                continue
            if target.parent.is_symlink():
                raise StoreError(f"{target.parent} is a link; remove it, and restore {item} again")
            self._move(batch.path / item, target)
            back.append(item)
        self._drop_if_empty(batch.path)
        return back, taken

    def empty(self, batch: Batch) -> None:
        """Remove a batch for good."""
        self.remove(batch.path)

    def remove(self, path: Path) -> None:
        """Remove a file or folder for good, first of all its name."""
        gone = self._root / f"{GONE}{secrets.token_hex(6)}"
        try:
            path.rename(gone)
            _remove(gone)
        except OSError as error:
            raise StoreError(f"{path} cannot be removed: {error.strerror}") from None

    def remove_gone(self) -> None:
        """Remove what a killed process was removing."""
        for path in self._root.glob(f"{GONE}*"):
            with suppress(OSError):
                _remove(path)

    def _items(self, batch: Path) -> Iterator[str]:
        for path in sorted(batch.iterdir()):
            if path.name in self._groups and path.is_dir() and not path.is_symlink():
                yield from (f"{path.name}/{inner.name}" for inner in sorted(path.iterdir()))
            elif path.name != ABOUT:
                yield path.name

    def _move(self, path: Path, to: Path) -> None:
        try:
            make_folder(to.parent)
            put(path, to)
            sync(path.parent)
        except OSError as error:
            raise StoreError(f"{path} cannot be moved to {to}: {error.strerror}") from None

    def _drop_if_empty(self, batch: Path) -> None:
        for group in self._groups:
            with suppress(OSError):
                (batch / group).rmdir()
        with suppress(OSError):
            if [path.name for path in batch.iterdir()] in ([], [ABOUT]):
                (batch / ABOUT).unlink(missing_ok=True)
                batch.rmdir()

    def _refuse_link(self) -> None:
        if self.folder.is_symlink():
            raise StoreError(
                f"{self.folder} is a link, and the store writes only inside its own folder; remove the link"
            )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
