"""Which files of a file or folder hold documents, and how each is read: decided by its name, which is in the key.

Imports no reader, so that a plan can ask.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pgolf.errors import DocumentError

Reader = Literal["jsonl", "parquet", "txt"]
Compression = Literal["gzip", "zstd"]

KINDS = ".jsonl or .txt (also with .gz or .zst), or .parquet"

_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_READERS: dict[str, Reader] = {".jsonl": "jsonl", ".txt": "txt", ".parquet": "parquet"}
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """A file of documents. name: relative to the folder it was found in, empty for a file that was given by itself."""

    path: Path
    name: str
    reader: Reader
    compression: Compression | None

    @property
    def identity(self) -> str:
        """What decides, beside its bytes, which documents are read from it and where they stand."""
        return f"{self.reader} {self.compression or 'plain'} {self.name}"


@dataclass(frozen=True, slots=True)
class DocumentFiles:
    """The files to read, in stream order, and what else lies in the folder (a folder that is left out is one entry)."""

    files: tuple[DocumentFile, ...]
    left_out: tuple[Path, ...] = ()

    def about_left_out(self) -> str:
        """What is not read, with counts and the first names; empty if everything is."""
        if not self.left_out:
            return ""
        folders = [path for path in self.left_out if path.is_dir()]
        files = [path for path in self.left_out if not path.is_dir()]
        said = []
        if files:
            kinds = Counter(path.suffix.lower() or "without suffix" for path in files)
            counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
            said.append(
                f"left out {len(files):,} of {len(self.files) + len(files):,} files: {counts} ({_first(files)})"
            )
        if folders:
            several = "folder" if len(folders) == 1 else "folders"
            said.append(f"not looked into: {len(folders):,} {several} ({_first(folders)})")
        return "; ".join([*said, f"documents are {KINDS}, not hidden and not in linked folders"])


def document_files(source: Path) -> DocumentFiles:
    """The documents' files of a file or folder, subfolders included, in the order of their names.

    Suffixes may be in upper case. Raises DocumentError for a file of another kind, a folder without documents, and what
    cannot be looked into.
    """
    if os.path.isfile(source):  # Path.is_file raises for a name too long for the file system
        found = _document_file(source, "")
        if found is None:
            raise DocumentError(
                f"{_printable(source)}: suffix {source.suffix!r} is not one of {KINDS}; convert or rename it"
            )
        return DocumentFiles((found,))
    if not os.path.isdir(source):
        what = "neither a file nor a folder" if os.path.exists(source) else "no such file or folder"
        raise DocumentError(f"{_printable(source)}: {what}; give a {KINDS} file or a folder of them")
    files: list[DocumentFile] = []
    left_out: list[Path] = []
    for path in sorted(_entries(source), key=lambda path: path.parts):
        one = None if _is_hidden(path, source) else _document_file(path, path.relative_to(source).as_posix())
        if one is None:
            left_out.append(path)
        else:
            files.append(one)
    if not files:
        raise DocumentError(f"{_printable(source)}: none of the folder's {len(left_out)} entries is a {KINDS} file")
    return DocumentFiles(tuple(files), tuple(left_out))


def _entries(source: Path) -> Iterator[Path]:
    """Every file below the folder, and every folder that is not looked into."""

    def refuse(error: OSError) -> None:
        raise DocumentError(f"{_printable(Path(error.filename or source))}: cannot be read ({error.strerror})")

    for above, folders, names in os.walk(source, onerror=refuse):
        for folder in tuple(folders):
            if folder.startswith(".") or os.path.islink(os.path.join(above, folder)):
                folders.remove(folder)
                yield Path(above, folder)
        yield from (Path(above, name) for name in names)


def _is_hidden(path: Path, source: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(source).parts)


def _document_file(path: Path, name: str) -> DocumentFile | None:
    if not os.path.isfile(path):
        return None
    stem, ending = os.path.splitext(path.name.lower())
    compression = _COMPRESSIONS.get(ending)
    reader = _READERS.get(os.path.splitext(stem)[1] if compression else ending)
    if reader is None or (reader == "parquet" and compression):
        return None
    return DocumentFile(path, name, reader, compression)


def _first(paths: Sequence[Path]) -> str:
    more = ", …" if len(paths) > _MOST_NAMED else ""
    return ", ".join(_printable(path.name) for path in paths[:_MOST_NAMED]) + more


def _printable(path: Path | str) -> str:
    """A path as a terminal and a log can show it: file names need not be UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()
