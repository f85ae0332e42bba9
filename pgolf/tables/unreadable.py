"""Files of result tables that cannot be read, found before a run: at its end it reads them all, and would file nothing.

Loads Arrow only for a file without a seal, of an earlier version or damaged. Of one that is whole the digest of its
bytes is kept beside the tables, in results/.gathered: Arrow takes 5 ms to say so again, and a folder of many such files
would delay every plan. Its times are not asked: bytes may change without them.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pgolf.errors import ConfigError, ResultsError
from pgolf.identity.closure import stage_code
from pgolf.store.plain_file import open_plain
from pgolf.store.table_file import TableFile
from pgolf.tables.file_names import DETAIL_FOLDERS, FOLDERS, GATHERED, REMOVED
from pgolf.tables.seal import is_sealed


def unreadable(results: Path, most: int) -> list[str]:
    """Of each such file below `results` what is wrong with it and what to do; of removed runs the scores are read.

    most: no more of them are looked for. Writes nothing but the digests of files that are whole.
    """
    seen = _Unsealed(results)
    try:
        return list(islice(_complaints(results, seen), most))
    finally:
        seen.keep()


def _complaints(results: Path, seen: "_Unsealed") -> Iterator[str]:
    folders = [(results / name, name) for name in (*FOLDERS, *DETAIL_FOLDERS)]
    folders += [(path, "scores") for path in sorted((results / REMOVED).glob("*/scores"))]
    for folder, name in folders:
        for path in sorted(folder.glob("[!.]*.parquet")):
            content = _content(path)
            try:
                if is_sealed(content) or seen.is_whole(path, content):
                    continue
            except ValueError:  # sealed, and altered
                pass
            if complaint := _complaint(path, name):
                yield complaint
            elif _content(path) == content:  # what was looked at is what was read before
                seen.add(path, content)


def _content(path: Path) -> bytes:
    """A file's bytes; none where there is no file that can be read, which is none that is whole."""
    try:
        with open_plain(path) as file:
            return file.read()
    except OSError:
        return b""


def _complaint(path: Path, name: str) -> str | None:
    from pgolf.tables.detail_tables import DETAILS
    from pgolf.tables.parquet import refuse_damaged
    from pgolf.tables.schema import TABLES

    [spec] = [spec for spec in (*TABLES.values(), *DETAILS) if spec.name == name]
    try:
        refuse_damaged(path, spec)
    except ResultsError as error:
        return str(error)
    return None


class _Unsealed:
    """The files without a seal that were found whole: each one's digest, with that of the code that found it so."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._file = TableFile(results / GATHERED / "unsealed", {"whole": ("file", "digest")})
        self._known: dict[str, str] | None = None
        self._learned: dict[str, str] = {}
        self._code = ""

    def is_whole(self, path: Path, content: bytes) -> bool:
        """Whether these bytes were found whole as this file, by the code that would look now."""
        if self._known is None:
            self._known = dict(self._file.rows("whole"))
            self._code = _code_that_looks()
        return self._known.get(self._name(path)) == self._digest(content)

    def add(self, path: Path, content: bytes) -> None:
        """Remember that these bytes are whole."""
        if self._code:
            self._learned[self._name(path)] = self._digest(content)

    def keep(self) -> None:
        """Write what was learned, where that can be written."""
        self._file.put({"whole": list(self._learned.items())})

    def _name(self, path: Path) -> str:
        return path.relative_to(self._results).as_posix()

    def _digest(self, content: bytes) -> str:
        return hashlib.sha256(self._code.encode() + content).hexdigest()


def _code_that_looks() -> str:
    """Another version may refuse what an earlier one has read. Empty where the code cannot be named."""
    try:
        return repr(stage_code("pgolf.tables.parquet"))
    except ConfigError:
        return ""
