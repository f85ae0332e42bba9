"""A submission's folder as it is on disk, whoever wrote it: read as text and bytes, never run."""

import codecs
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pgolf.errors import ConfigError
from pgolf.store.plain_file import read_plain

SCRIPT, JSON, README, REQUIREMENTS = "train_gpt.py", "submission.json", "README.md", "requirements.txt"
MODEL = "model.pgolf"

MOST_FILES = 1000
# Of a text: a whole log has some hundred kilobytes, a script at most the budget.
_MOST_BYTES = 1 << 25

_MOST_DIGITS = 40

_LOG = re.compile(r"train_seed(\d{1,20})\.(?:log|txt)")
_SEED_MODEL = re.compile(r"model_seed(\d{1,20})\.pgolf")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFiles:
    """sizes: file -> bytes. about: submission.json, its numbers as they are written, or None, and then `about_lack`.

    logs: seed -> text. models: seed -> packed model, in the folder or in FOLDER.models beside it; None for one without
    a seed in its name.
    """

    folder: Path
    sizes: Mapping[str, int]
    script: bytes
    about: Mapping[str, Any] | None
    about_lack: str
    readme: str
    requirements: str | None
    logs: Mapping[int, str]
    models: Mapping[int | None, Path]


def read_folder(folder: Path) -> FolderFiles:
    """Read it. Raises ConfigError for a folder that must not be looked into (`plain_files`) or cannot be."""
    names = plain_files(folder)
    beside = folder.absolute().with_name(f"{folder.absolute().name}.models")
    models: dict[int | None, Path] = {None: folder / MODEL} if MODEL in names else {}
    for place in (beside, folder):
        for path in sorted(place.iterdir()) if place.is_dir() and not place.is_symlink() else ():
            if (match := _SEED_MODEL.fullmatch(path.name)) and path.is_file() and not path.is_symlink():
                models[int(match[1])] = path
    about, lack = _about(folder, names)
    return FolderFiles(
        folder=folder,
        sizes={name: (folder / name).stat().st_size for name in names},
        script=_bytes(folder / SCRIPT) if SCRIPT in names else b"",
        about=about,
        about_lack=lack,
        readme=_text(folder / README) if README in names else "",
        requirements=_text(folder / REQUIREMENTS) if REQUIREMENTS in names else None,
        logs={int(match[1]): _text(folder / name) for name in names if (match := _LOG.fullmatch(name))},
        models=models,
    )


def plain_files(folder: Path) -> list[str]:
    """The files in a folder, as paths relative to it.

    Raises ConfigError for a symbolic link, pipe or device in it, for more than `MOST_FILES`, and for no folder.
    """
    names: list[str] = []
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no folder; name the folder of a submission")
    try:
        for above, folders, files in os.walk(folder, onerror=_refuse):
            if len(names) + len(folders) + len(files) > MOST_FILES:  # before any of them is looked at
                raise ConfigError(f"{folder} holds more than {MOST_FILES:,} files; a submission has about ten")
            for name in [*folders, *files]:
                path = Path(above, name)
                relative = path.relative_to(folder)
                if path.is_symlink():
                    raise ConfigError(
                        f"{relative} is a symbolic link to {os.readlink(path)}; a submission holds its own files: put "
                        "a copy in its place"
                    )
                if name in files:
                    if not path.is_file():
                        raise ConfigError(f"{relative} is neither a file nor a folder (a pipe or device); remove it")
                    names.append(str(relative))
    except OSError as error:
        _refuse(error)
    return sorted(names)


def is_result(name: str) -> bool:
    """Whether a file, named relative to the folder, says what came out: JSON, README or a log."""
    return name in (JSON, README) or _LOG.fullmatch(name) is not None or name.endswith(".log")


def _refuse(error: OSError) -> None:
    raise ConfigError(f"{error.filename} cannot be read ({error.strerror}); correct its permissions") from None


def _bytes(path: Path) -> bytes:
    try:
        return read_plain(path, most_bytes=_MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from None


def _text(path: Path) -> str:
    raw = _bytes(path)
    # As some shells of Windows write what they are told to file.
    is_utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return raw.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace")


def _about(folder: Path, names: list[str]) -> tuple[Mapping[str, Any] | None, str]:
    if JSON not in names:
        return None, f"no {JSON}"
    try:
        read = json.loads(
            _bytes(folder / JSON),
            parse_float=_number,
            parse_int=lambda text: int(_number(text)),
            parse_constant=_no_number,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError) as error:
        return None, f"{JSON} cannot be read as JSON ({error})"
    if not isinstance(read, dict):
        return None, f"{JSON} holds no object of fields"
    return read, ""


def _number(text: str) -> Decimal:
    """As it is written. Raises ValueError for one that is no size, time or score, and that no arithmetic is safe of."""
    if len(text) > _MOST_DIGITS or abs((number := Decimal(text)).adjusted()) > _MOST_DIGITS:
        shown = text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}…"
        raise ValueError(f"{shown} is a number out of all proportion")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"{name[:_MOST_DIGITS]!r} stands twice in one object")
        made[name] = value
    return made


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")
