"""What a disk may hold after the power went: what was synced, and any part of the rest.

A file's content is safe once the file was synced, a name once its folder was. Of all else, each name may be as it was
at the last sync or as it is now, and each content lost, cut off, zeros or whole, independently of one another.
"""

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

Folder = dict[str, int]  # name -> number of a file or folder


@dataclass(frozen=True)
class Moment:
    """All that may be found of a disk at one moment. folders, files: number -> what it was when synced, what it is."""

    after: str
    root: int
    folders: dict[int, tuple[Folder, Folder]]
    files: dict[int, tuple[bytes | None, bytes]]

    def write(self, target: Path, *, draw: random.Random | None, synced_names: bool = False, content: str = "") -> None:
        """Write one of the states into a new folder. draw: chooses where something is open, name by name.

        Without: synced_names: names as they were synced, or as they are. content: what is left of what was not synced:
        nothing ("empty"), "zeros", "half" or all of it ("whole").
        """
        self._write(self.root, target, draw, synced_names, content)

    def _write(self, number: int, target: Path, draw: random.Random | None, synced_names: bool, content: str) -> None:
        if number in self.files:
            synced, now = self.files[number]
            if synced != now:
                kind = draw.choice(("empty", "zeros", "half", "whole")) if draw else content
                rest = {"empty": b"", "zeros": bytes(len(now)), "half": now[: len(now) // 2], "whole": now}[kind]
                now = synced if synced is not None and draw and draw.random() < 0.5 else rest
            target.write_bytes(now)
            return
        target.mkdir()
        synced_names_of, names_of = self.folders[number]
        for name in sorted({*synced_names_of, *names_of}):
            as_synced = draw.random() < 0.5 if draw else synced_names
            found = (synced_names_of if as_synced else names_of).get(name)
            if found is not None:
                self._write(found, target / name, draw, synced_names, content)


@dataclass
class Recorder:
    """Follows the changes of a folder; `after` is a hook of `tests.store.failing_disk.watched`."""

    folder: Path
    moments: list[Moment] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)  # inode -> number; inodes are used again
    _next: int = 0
    _synced_names: dict[int, Folder] = field(default_factory=dict)
    _synced_content: dict[int, bytes] = field(default_factory=dict)
    _all_folders: dict[int, Folder] = field(default_factory=dict)  # those that are gone too
    _all_files: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A thread that a stage has not started may read what it likes.
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._thread.submit(int).result()

    def end(self) -> None:
        """Nothing more is followed."""
        self._thread.shutdown()

    def after(self, kind: str, path: str) -> None:
        """Note what is synced now, and the moment."""
        self._thread.submit(self._note, kind, path).result()

    def _note(self, kind: str, path: str) -> None:
        folders, files = self._look()
        if kind == "fsync":
            number = self._numbers[os.stat(path).st_ino]
            if number in folders:
                self._synced_names[number] = folders[number]
            else:
                self._synced_content[number] = files[number]
        self.moments.append(self._moment(f"{kind} {Path(path).relative_to(self.folder.resolve())}", folders, files))

    def _look(self) -> tuple[dict[int, Folder], dict[int, bytes]]:
        """Names by folder and contents by file, as they are."""
        folders: dict[int, Folder] = {}
        files: dict[int, bytes] = {}
        seen: dict[int, int] = {}

        def visit(path: str) -> int:
            inode = os.stat(path).st_ino
            if inode in seen:
                return seen[inode]
            if inode not in self._numbers:
                self._numbers[inode] = self._next
                self._next += 1
            number = seen[inode] = self._numbers[inode]
            if os.path.isdir(path):
                folders[number] = {name: visit(os.path.join(path, name)) for name in sorted(os.listdir(path))}
            else:
                files[number] = Path(path).read_bytes()
            return number

        visit(str(self.folder))
        self._numbers = seen
        return folders, files

    def _moment(self, after: str, folders: dict[int, Folder], files: dict[int, bytes]) -> Moment:
        self._all_folders |= folders
        self._all_files |= files
        root = self._numbers[os.stat(self.folder).st_ino]
        return Moment(
            after,
            root,
            {
                number: (self._synced_names.get(number, {}), names if number in folders else {})
                for number, names in self._all_folders.items()
            },
            {number: (self._synced_content.get(number), content) for number, content in self._all_files.items()},
        )


def states(moment: Moment, draws: int, seed: int) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """(what is left, a function that writes it into a new folder)."""
    yield "all, as after a kill", lambda target: moment.write(target, draw=None, content="whole")
    for content in ("empty", "zeros"):
        yield (
            f"what was synced, {content} for what was not",
            lambda target, content=content: moment.write(target, draw=None, synced_names=True, content=content),
        )
        yield (
            f"all names, {content} for what was not synced",
            lambda target, content=content: moment.write(target, draw=None, content=content),
        )
    for number in range(draws):
        yield (
            f"draw {seed + number}",
            lambda target, number=number: moment.write(target, draw=random.Random(seed + number)),
        )
