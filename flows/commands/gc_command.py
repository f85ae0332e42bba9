"""`pgolf gc`: list what no result refers to, put it into the bin when asked, take it back, or empty the bin."""

import argparse
import json
import math
import re
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from flows.commands.arguments import (
    add_json,
    add_store,
    add_wide,
    given_path,
    store_place,
    table_width,
)
from flows.commands.streams import hand_over, shortened, show, tell
from flows.commands.summary import span
from pgolf.errors import ConfigError, StoreError, StoreFull
from pgolf.pipeline.chosen import CHEAP, DEAR, Chosen, choose, share_taken
from pgolf.pipeline.place import Place, default_results
from pgolf.pipeline.referring import Referring, ask_results, remember, ways_to_say
from pgolf.pipeline.status import forget_the_gone
from pgolf.pipeline.upkeep import Garbage, delete, garbage, measured, put_aside, refuse_while_building
from pgolf.store.shared import SharedStore
from pgolf.tables.schema import STAGES
from pgolf.tables.sheet import Sheet, SheetColumn
from pgolf.tables.text import to_text

EXAMPLES = """examples:
  pgolf gc                                         what no result refers to (dry run)
  pgolf gc --price-per-hour 23.92                  and what making it again would cost
  pgolf gc --delete                                into the store's bin; data and trainings stay
  pgolf gc --delete --what checkpoints,unfinished --older-than 30d
  pgolf gc --restore                               take all of the bin back; or --restore NAME
  pgolf gc --empty-bin                             for good
  pgolf gc --forget old/results                    results that are gone: give up what they named
"""
MOST_HOST_CHARACTERS = 80
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_store(parser)
    parser.add_argument(
        "--results",
        type=given_path,
        action="append",
        metavar="DIR",
        help="folder of tables that refer to the store, besides those it remembers; may be repeated "
        "(default: results or PGOLF_RESULTS, where it is there)",
    )
    parser.add_argument(
        "--forget",
        type=given_path,
        action="append",
        default=[],
        metavar="DIR",
        help="do not ask these results any more; what only they name may go; may be repeated",
    )
    parser.add_argument(
        "--without-results", action="store_true", help="no results besides those that the store remembers refer to it"
    )
    parser.add_argument(
        "--what",
        metavar="KIND,…",
        help=f"what may go besides {', '.join(CHEAP)}: {', '.join(DEAR)}, or all (default: none of these)",
    )
    parser.add_argument("--older-than", metavar="AGE", help="only what was not written to for so long, e.g. 30d or 12h")
    parser.add_argument("--price-per-hour", type=float, metavar="MONEY", help="price of the machine, to show the cost")
    parser.add_argument(
        "--delete", action="store_true", help="move it to the store's bin; without it nothing is touched"
    )
    parser.add_argument("--now", action="store_true", help="with --delete: for good, not into the bin")
    parser.add_argument("--yes", action="store_true", help="do not ask on a terminal")
    parser.add_argument("--yes-most", action="store_true", help="delete even more than half of the store; do not ask")
    parser.add_argument(
        "--restore",
        nargs="?",
        const="",
        metavar="NAME",
        help="take back what is in the bin: all of it, one batch, or one folder",
    )
    parser.add_argument("--empty-bin", action="store_true", help="remove what is in the bin for good")
    add_wide(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """List what no result refers to; delete it only when asked."""
    asked = [name for name in ("delete", "restore", "empty_bin") if getattr(arguments, name) not in (None, False)]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join('--' + name.replace('_', '-') for name in asked)}: one at a time")
    if arguments.now and not arguments.delete:
        raise ConfigError("--now goes with --delete; --empty-bin removes what is in the bin")
    price = arguments.price_per_hour
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ConfigError(f"--price-per-hour is {price}; give a price such as 23.92")
    collection = _Collection(arguments, store_place(arguments))
    if arguments.restore is not None:
        return collection.restore(arguments.restore)
    if arguments.empty_bin:
        return collection.empty_bin()
    return collection.collect()


class _Collection:
    """One call of the command. Raises ConfigError and StoreError, with what to do."""

    def __init__(self, arguments: argparse.Namespace, place: Place) -> None:
        self._arguments, self._place = arguments, place
        self._store = place.open_store()
        if place.remote is None and not self._store.is_store():
            raise StoreError(
                f"there is no store at {self._store.root}: it holds no output and no index of one; name it with --store"
            )
        self._kinds = {*CHEAP, *kinds_of(arguments.what)}
        self._older_than_s = None if arguments.older_than is None else age_s_of(arguments.older_than)

    def collect(self) -> int:
        """List, or list and delete."""
        arguments, store = self._arguments, self._store
        if not arguments.delete:
            found, referring, _ = self._look()
            self._show(found, referring, batch=None)
            return 0
        shown: set[tuple[str, bool]] | None = None
        if not (arguments.yes or arguments.yes_most) and sys.stdin.isatty():
            found, referring, _ = self._look()
            self._refuse_most(found)
            if found.goes:
                self._show(found, referring, batch=None, say=tell)
                if not _agreed("delete this for good" if arguments.now else "move this to the bin"):
                    return 1
            shown = {(item.name, item.is_shared) for item in found.goes}
        with store.alone("pgolf gc --delete", tell):
            # Looked for anew: what was shown to a person was found without the lock.
            found, referring, forget = self._look()
            if shown is not None:
                seen = tuple(item for item in found.goes if (item.name, item.is_shared) in shown)
                found = Chosen(seen, found.stays)
            self._refuse_most(found)
            refuse_while_building(store)
            try:
                remember(store, referring, forget)
                is_remembered = True
            except StoreFull:  # what goes makes room; what would be noted names nothing of it
                is_remembered = False
            store.bin.remove_gone()
            batch = None
            if arguments.now:
                delete(store, found.goes)
            else:
                batch = put_aside(store, found.goes)
            if not is_remembered:
                remember(store, referring, forget)
            forget_the_gone(store.root)
        self._show(found, referring, batch=batch)
        return 0

    def restore(self, name: str) -> int:
        """Take back all of the bin, one batch of it, or one folder."""
        store, found = self._store, False
        back: list[str] = []
        taken: list[str] = []
        with store.alone("pgolf gc --restore", tell):
            bins: list[tuple[Any, Any]] = [(store.bin, batch) for batch in store.bin.batches()]
            if isinstance(store, SharedStore):
                bins += [(store.remote_bin, batch) for batch in store.remote_bin.batches()]
            names = []
            # The last that was put aside first: of one name the latest comes back.
            for its_bin, batch in reversed(bins):
                of_batch = list(getattr(batch, "items", None) or getattr(batch, "sizes", ()))
                names += [batch.name, *of_batch]
                items = (
                    of_batch if name in ("", batch.name) else [item for item in of_batch if item == name.rstrip("/")]
                )
                if items or name in ("", batch.name):
                    found = True
                    went, stayed = its_bin.take_back(batch, items)
                    back += went
                    taken += stayed
        if name and not found:
            raise ConfigError(f"--restore {name}: the bin has no such batch or folder; it has {_listed(names)}")
        if self._arguments.json:
            hand_over(json.dumps({"restored": back, "kept_in_bin": taken}, indent=2))
            return 0
        for item in back:
            show(f"restored  {item}")
        for item in taken:
            show(f"stays in the bin  {item}: it is in the store again, or was never whole here")
        show(f"{len(back)} restored" if back or taken else "the bin is empty")
        return 0

    def empty_bin(self) -> int:
        """Remove for good what is in the bin, or the part of it that is old enough."""
        store = self._store
        if not (self._arguments.yes or self._arguments.yes_most) and sys.stdin.isatty():
            folders, size_bytes = self._in_bin()
            if folders and not _agreed(f"remove {folders:,} folders, {size_bytes:,} bytes, for good"):
                return 1
        with store.alone("pgolf gc --empty-bin", tell):
            before = self._in_bin()
            store.bin.remove_gone()
            for batch in store.bin.batches():
                if self._is_old(batch.name):
                    store.bin.empty(batch)
            if isinstance(store, SharedStore):
                for there in store.remote_bin.batches():
                    if self._is_old(there.name):
                        store.remote_bin.empty(there)
            after = self._in_bin()
        removed = {"folders": before[0] - after[0], "size_bytes": before[1] - after[1]}
        if self._arguments.json:
            hand_over(json.dumps({"removed": removed, "bin": _bin_data(*after)}, indent=2))
        else:
            show(f"removed for good: {removed['folders']:,} folders, {removed['size_bytes']:,} bytes")
        return 0

    def _look(self) -> tuple[Chosen, list[Referring], list[str]]:
        """What goes and stays, the results that were asked, and the notes to forget."""
        arguments, store = self._arguments, self._store
        given = arguments.results or []
        for results in given:
            if not (results / STAGES.name).is_dir() and not arguments.without_results:
                raise ConfigError(
                    f"{results} holds no result tables, so every output would count as unused; point --results at "
                    "them, or say --without-results"
                )
        default, forgotten = default_results(), {way for path in arguments.forget for way in ways_to_say(path)}
        given = [results for results in given if (results / STAGES.name).is_dir()]
        if arguments.results is None and (default / STAGES.name).is_dir() and default.resolve() not in forgotten:
            given = [default]
        referring, forget = ask_results(store, given, arguments.forget)
        if not referring and not forget and not arguments.without_results:
            raise ConfigError(
                f"{default} holds no result tables and the store remembers none, so every output would count as "
                "unused; point --results at them, or say --without-results"
            )
        remembers = forget or any(True for _ in store.notes())
        if not remembers and arguments.results is None and not arguments.without_results:
            said = (
                f"the store does not remember which results refer to it (an earlier version filled it), and only "
                f"{default.resolve()} was asked"
            )
            if arguments.delete:
                raise ConfigError(f"{said}; name every folder of results with --results, which may be repeated")
            tell(f"{said}; name the others with --results")
        kept = {output for item in referring for output in item.outputs}
        found = garbage(store, kept)
        return choose(found, self._kinds, older_than_s=self._older_than_s, now_s=time.time()), referring, forget

    def _refuse_most(self, found: Chosen) -> None:
        share, taken_bytes, of_bytes = share_taken(self._store, found.goes)
        if share > 0.5 and not self._arguments.yes_most:
            raise ConfigError(
                f"this would take {taken_bytes:,} of the store's {of_bytes:,} bytes ({share:.0%}), more than half; "
                "look at `pgolf gc` first, and add --yes-most if all of it is meant"
            )

    def _is_old(self, batch: str) -> bool:
        if self._older_than_s is None:
            return True
        try:
            put_aside = datetime.strptime(batch.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            return False
        return put_aside.timestamp() <= time.time() - self._older_than_s

    def _in_bin(self) -> tuple[int, int]:
        """Folders and bytes."""
        batches = self._store.bin.batches()
        folders, size_bytes = sum(len(batch.items) for batch in batches), measured(self._store.bin.folder)[0]
        if isinstance(self._store, SharedStore):
            for batch in self._store.remote_bin.batches():
                folders, size_bytes = folders + len(batch.sizes), size_bytes + batch.size_bytes
        return folders, size_bytes

    def _show(
        self,
        found: Chosen,
        referring: Sequence[Referring],
        *,
        batch: str | None,
        say: Callable[[str], None] = show,
    ) -> None:
        """The report: as JSON, or as a table for people."""
        deleted, price = self._arguments.delete and say is not tell, self._arguments.price_per_hour
        in_bin = self._in_bin()
        if self._arguments.json and say is not tell:
            hand_over(
                json.dumps(
                    {
                        "deleted": deleted,
                        "batch": batch,
                        **_total(found.goes, price),
                        "stays": _total(found.stays, price),
                        "bin": _bin_data(*in_bin),
                        "results": [
                            {
                                "path": str(item.path or item.note.path),
                                "host": item.note.host,
                                "outputs": len(item.outputs),
                            }
                            for item in referring
                        ],
                        "garbage": [_row(item, price, goes=True) for item in found.goes]
                        + [_row(item, price, goes=False) for item in found.stays],
                    },
                    indent=2,
                )
            )
            return
        width = table_width(self._arguments)
        items = [(item, "deleted" if deleted else "would go") for item in found.goes]
        items += [(item, "stays") for item in found.stays]
        if items:
            sheets = _sheets(items, price, shared=self._place.remote is not None)
            say("\n".join(to_text(sheet, width) for sheet in sheets))
        for text in self._sentences(found, referring, deleted, batch, in_bin):
            say(_wrapped(text, width) if width else text)

    def _sentences(
        self, found: Chosen, referring: Sequence[Referring], deleted: bool, batch: str | None, in_bin: tuple[int, int]
    ) -> list[str]:
        price = self._arguments.price_per_hour
        said = []
        for item in referring:
            host = shortened(item.note.host, MOST_HOST_CHARACTERS)
            where = "" if item.path is not None else f" on {host}, as noted {item.note.noted_utc[:10]}"
            said.append(f"results {item.path or item.note.path}{where}: {len(item.outputs):,} outputs in use")
        if self._place.remote is not None:
            here, shared = ([item for item in found.goes if item.is_shared is there] for there in (False, True))
            text = (
                f"in the cache {self._place.store} {_folders(here)}; in {self._place.remote}, for all who use it, "
                f"{_folders(shared)}"
            )
        else:
            text = _folders(found.goes)
        text = f"{'deleted' if deleted else 'would go'}: {text}{_to_make_again(found.goes, price)}"
        said.append(text + ("; --delete removes them" if found.goes and not deleted else ""))
        if found.stays:
            said.append(
                f"stays, although no result refers to it: {_folders(found.stays)}{_to_make_again(found.stays, price)}"
            )
        if batch is not None:
            said.append(f"it lies in the bin as {batch}: pgolf gc --restore {batch} takes it back")
        if in_bin[0]:
            said.append(
                f"the bin holds {in_bin[0]:,} folders, {in_bin[1]:,} bytes: --restore takes them back, --empty-bin "
                "removes them for good"
            )
        return said


def kinds_of(text: str | None) -> list[Any]:
    """The kinds that --what names. Raises ConfigError."""
    if text is None:
        return []
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    known = (*CHEAP, *DEAR)
    if wrong := [kind for kind in kinds if kind not in (*known, "all")]:
        raise ConfigError(f"--what {wrong[0]}: there is no such kind; there are {', '.join(known)} and all")
    if not kinds:
        raise ConfigError(f"--what is empty; name some of {', '.join(known)}, or all")
    return list(known) if "all" in kinds else kinds


def age_s_of(text: str) -> float:
    """Seconds of an age such as 30d. Raises ConfigError."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([mhdw])\s*", text)
    if match is None:
        raise ConfigError(f"--older-than {text}: give an age in m, h, d or w, such as 12h or 30d")
    return float(match[1]) * _UNITS_S[match[2]]


def _wrapped(text: str, width: int) -> str:
    """Paths stay whole, to be copied."""
    return textwrap.fill(text, width, break_on_hyphens=False, break_long_words=False)


def _agreed(what: str) -> bool:
    tell(f"{what}? [y/N] ", end="")
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    tell("nothing was deleted")
    return False


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"


def _cost(wall_s: float | None, price_per_hour: float | None) -> float | None:
    return None if wall_s is None or price_per_hour is None else round(wall_s / 3600 * price_per_hour, 4)


def _total(items: Sequence[Garbage], price: float | None) -> dict[str, Any]:
    """Sums; seconds of those whose records say so, and how many do not."""
    wall_s = sum(seconds for _, seconds in _priced(items).values())
    return {
        "folders": len(items),
        "size_bytes": sum(item.size_bytes for item in items),
        "wall_s": round(wall_s, 3),
        "without_price": sum(item.wall_s is None for item in items),
        "cost": _cost(wall_s, price),
    }


def _priced(items: Sequence[Garbage]) -> dict[str, tuple[str, float]]:
    """Output -> hardware and seconds; a copy in a cache and the shared output are made again once."""
    return {item.name.rstrip("/"): (item.hardware, item.wall_s) for item in items if item.wall_s is not None}


def _to_make_again(items: Sequence[Garbage], price: float | None) -> str:
    by_hardware: dict[str, float] = {}
    for hardware, seconds in _priced(items).values():
        by_hardware[hardware] = by_hardware.get(hardware, 0.0) + seconds
    if not by_hardware:
        return ""
    text = ", ".join(f"{span(seconds)} on {hardware}" for hardware, seconds in by_hardware.items())
    cost = _cost(sum(by_hardware.values()), price)
    return f"; to make it again: {text}" + ("" if cost is None else f", cost {cost:.2f}")


def _folders(items: Sequence[Garbage]) -> str:
    return f"{len(items)} folders, {sum(item.size_bytes for item in items):,} bytes"


def _bin_data(folders: int, size_bytes: int) -> dict[str, int]:
    return {"folders": folders, "size_bytes": size_bytes}


def _row(item: Garbage, price: float | None, *, goes: bool) -> dict[str, Any]:
    written = None if item.written_s is None else datetime.fromtimestamp(item.written_s, UTC)
    return {
        "folder": item.name,
        "goes": goes,
        "kind": item.kind,
        "size_bytes": item.size_bytes,
        "wall_s": None if item.wall_s is None else round(item.wall_s, 3),
        "hardware": item.hardware or None,
        "cost": _cost(item.wall_s, price),
        "written_utc": None if written is None else written.isoformat(timespec="seconds"),
        "why": item.why,
        "shared": item.is_shared,
    }


def _sheets(items: Sequence[tuple[Garbage, str]], price: float | None, *, shared: bool) -> list[Sheet]:
    """A table for each reason, so that a row is short enough for a narrow terminal."""
    columns = [
        SheetColumn("folder", "folder"),
        SheetColumn("size_bytes", "bytes", ",d"),
        SheetColumn("wall_s", "made in"),
    ]
    columns += [SheetColumn("cost", "cost", ".2f")] if price is not None else []
    groups: dict[str, list[tuple[Any, ...]]] = {}
    for item, fate in items:
        where = "" if not shared else "shared " if item.is_shared else "cached "
        made_in = None if item.wall_s is None else span(item.wall_s) if item.wall_s >= 10 else f"{item.wall_s:.1f} s"
        row = [item.name, item.size_bytes, made_in, *([_cost(item.wall_s, price)] if price is not None else [])]
        groups.setdefault(f"{fate}: {where}{item.kind}, {item.why}", []).append(tuple(row))
    return [Sheet(title, tuple(columns), tuple(rows)) for title, rows in groups.items()]
