"""The bin of an object store: objects below `bin/<batch>/`, under the names they had.

There are no renames: everything is copied first, an output's record last, and then removed, the record first. A process
that is killed in the middle leaves an output whole in at least one of both places, and a record only where it is whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pgolf.store.bin import BIN
from pgolf.store.output_record import FOLDER_PATTERN
from pgolf.store.remote import Remote


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """What one deletion put aside. sizes: item -> bytes; an item is an output's folder or `quarantine/…`."""

    name: str
    sizes: dict[str, int]

    @property
    def size_bytes(self) -> int:
        """Of all items."""
        return sum(self.sizes.values())


class RemoteBin:
    """The bin of an object store. check: raises where objects must not be removed any more."""

    def __init__(self, remote: Remote, check: Callable[[], None]) -> None:
        self._remote, self._check = remote, check

    def put_aside(self, batch: str, folder: str) -> None:
        """Move the objects of an output, or below a prefix of the quarantine, to the bin."""
        record = f"records/{folder}.json"
        names = [f"{folder}/{name}" for name in self._remote.listing(f"{folder}/")]
        has_record = bool(FOLDER_PATTERN.fullmatch(folder)) and self._remote.size_bytes(record) is not None
        for name in (*names, *([record] if has_record else [])):
            self._check()
            self._remote.copy(name, f"{BIN}/{batch}/{name}")
        for name in (*([record] if has_record else []), *names):
            self._check()
            self._remote.remove(name)

    def batches(self) -> list[RemoteBatch]:
        """What lies in the bin, the oldest first."""
        found: dict[str, dict[str, int]] = {}
        for name, (_etag, size_bytes) in self._remote.listing(f"{BIN}/").items():
            batch, _, rest = name.partition("/")
            first, _, more = rest.partition("/")
            item = f"{first}/{more.partition('/')[0]}" if first == "quarantine" else first
            item = more.removesuffix(".json") if first == "records" else item
            sizes = found.setdefault(batch, {})
            sizes[item] = sizes.get(item, 0) + (0 if first == "records" else size_bytes)
        return [RemoteBatch(batch, sizes) for batch, sizes in sorted(found.items())]

    def take_back(self, batch: RemoteBatch, items: Sequence[str]) -> tuple[list[str], list[str]]:
        """Move items to where they were; returns them and those whose place is taken, which stay.

        The record is the last to be copied back and the first to leave the bin. Where the bin has none its copy was cut
        short, and the output is still in its place, or in another batch.
        """
        back, taken = [], []
        for item in items:
            record, inside = f"records/{item}.json", f"{BIN}/{batch.name}"
            is_output = FOLDER_PATTERN.fullmatch(item) is not None
            in_bin = self._remote.size_bytes(f"{inside}/{record}") is not None if is_output else False
            there = self._remote.size_bytes(record) is not None if is_output else False
            names = [f"{item}/{name}" for name in self._remote.listing(f"{inside}/{item}/")]
            if there or (is_output and not in_bin):
                taken.append(item)
                continue
            for name in (*names, *([record] if in_bin else [])):
                self._remote.copy(f"{inside}/{name}", name)
            for name in (*([record] if in_bin else []), *names):
                self._remote.remove(f"{inside}/{name}")
            back.append(item)
        return back, taken

    def empty(self, batch: RemoteBatch) -> None:
        """Remove a batch for good, the records first."""
        names = sorted(self._remote.listing(f"{BIN}/{batch.name}/"), key=lambda name: not name.startswith("records/"))
        for name in names:
            self._remote.remove(f"{BIN}/{batch.name}/{name}")
