"""What a collection takes: of all that no result refers to, what was asked for, and nothing that the rest stands on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pgolf.pipeline.upkeep import Garbage, Kind, measured
from pgolf.store.artifact import FAILED, PARTIAL, QUARANTINE, Store
from pgolf.store.bin import BIN
from pgolf.store.shared import SharedStore

# Made again from what stays, or of no use any more. The others were paid for, and go when they are asked for.
CHEAP: tuple[Kind, ...] = ("outputs", "damaged", "leftovers", "logs")
DEAR: tuple[Kind, ...] = ("data", "checkpoints", "unfinished")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What goes, and what stays although nothing refers to it; the `why` of what stays says what it waits for."""

    goes: tuple[Garbage, ...]
    stays: tuple[Garbage, ...]


def choose(
    found: Sequence[Garbage], kinds: Collection[Kind], *, older_than_s: float | None = None, now_s: float
) -> Chosen:
    """Split garbage by what was asked for. What stays keeps what it was made from, as an output in use does.

    older_than_s: only what was last written to so many seconds before now_s; what has no known time stays.
    """
    goes, stays = [], []
    for item in found:
        if item.kind not in kinds:
            stays.append(replace(item, why=f"{item.why}; --what {item.kind} takes it"))
        elif older_than_s is not None and (item.written_s is None or item.written_s > now_s - older_than_s):
            stays.append(replace(item, why=f"{item.why}; not so old"))
        else:
            goes.append(item)
    needed = {folder: item.output or "" for item in stays if item.output for folder in item.made_from}
    while kept := [item for item in goes if item.output in needed]:
        for item in kept:
            goes.remove(item)
            stays.append(replace(item, why=f"{item.why}; {needed[item.output or '']} stays, which was made from it"))
            needed |= {folder: item.output or "" for folder in item.made_from if folder not in needed}
    return Chosen(tuple(goes), tuple(stays))


def share_taken(store: Store, goes: Sequence[Garbage]) -> tuple[float, int, int]:
    """How much of the store would go, from 0 to 1, and the bytes that go and that there are; bins are left out.

    Of an object store: of its objects or of its cache here, whichever loses the larger share.
    """
    shares = [_share(sum(item.size_bytes for item in goes if not item.is_shared), _bytes_here(store))]
    if isinstance(store, SharedStore):
        sizes = store.remote.listing("").items()
        there = sum(size for name, (_etag, size) in sizes if not name.startswith(f"{BIN}/"))
        shares.append(_share(sum(item.size_bytes for item in goes if item.is_shared), there))
    return max(shares)


def _share(taken_bytes: int, of_bytes: int) -> tuple[float, int, int]:
    return (taken_bytes / of_bytes if of_bytes else 0.0, taken_bytes, of_bytes)


def _bytes_here(store: Store) -> int:
    inner = (store.root / group for group in (QUARANTINE, PARTIAL, FAILED))
    return sum(measured(path)[0] for path in (*store.artifacts(), *store.leftovers(), *inner))
