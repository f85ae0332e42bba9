"""Find the one data set below a folder: what a manifest lists, or one folder of shards. Never a guess among several."""

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pgolf.corpus.dataset import (
    FETCHED,
    MANIFEST_NAME,
    SHARD_PREFIX,
    VAL_BYTES_FILES,
    ShardKind,
    Split,
    inside,
    read_manifest,
    shard_name,
    whole_number,
)
from pgolf.corpus.shards import read_shard
from pgolf.errors import DataError
from pgolf.store.plain_file import read_plain

_SHARD_LIKE = re.compile(rf"{SHARD_PREFIX}_(train|val_bytes|val)_.*\.bin")
# Shards in another spelling, packed, or not here to their end: passed over, they would leave a shorter stream.
_ALIKE = re.compile(
    rf"{SHARD_PREFIX}(.?|.{{0,12}}(?<![a-z]))(train|val)(.?bytes)?(.?\d{{6}}|.*\.bin)", re.IGNORECASE | re.DOTALL
)

_MOST_NAMED = 5
# A manifest has both; one that lacks one of them is damaged, and a file of that name without either is another thing.
_KEYS = {"datasets", "tokenizers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFiles:
    """The files of one data set; shards in stream order. manifest: what lists them; entry: what it says of them.

    val_bytes: one per val shard, or none. tokenizer_entry: what the manifest says of the tokenizer.
    """

    train: tuple[Path, ...]
    val: tuple[Path, ...]
    val_bytes: tuple[Path, ...] = ()
    tokenizer: Path
    manifest: Path | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)
    tokenizer_entry: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_name(self) -> dict[str, Path]:
        """Every file, by a name that says what it is."""
        shards = {path.name: path for path in (*self.train, *self.val, *self.val_bytes)}
        manifest = {} if self.manifest is None else {MANIFEST_NAME: self.manifest}
        return manifest | {"tokenizer": self.tokenizer} | shards

    def about_missing(self) -> str:
        """How many train shards the manifest lists beyond those that are here; empty if none."""
        listed = self.entry["stats"]["files_train"] if self.manifest else len(self.train)
        return f"{len(self.train)} of {listed} train shards are here" if len(self.train) < listed else ""


@dataclass(frozen=True, slots=True)
class _Candidate:
    shards: Path
    manifest: Path | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.shards) if self.manifest is None else f"{self.manifest} ({self.entry.get('name')})"


def find_data(folder: Path, tokenizer: Path | None = None) -> DataFiles:
    """The files of the only data set at or below a folder. tokenizer: a SentencePiece model, if it is not found there.

    Every shard's header and size are read, no tokens. Raises DataError for none or several data sets (naming them),
    shards that are not numbered 000000, 000001, …, that a manifest does not list or that do not hold as many tokens as
    it says, files that are almost named like shards, and for none or several tokenizers; ShardError for a file of
    another kind or size.
    """
    below = list(_walk(folder))
    found = list(_candidates(folder, below))
    if len(found) != 1:
        if found:
            raise DataError(f"{folder.absolute()}: {len(found)} data sets{_listed(found)}\nname the folder of one")
        raise DataError(f"{folder.absolute()}: no validation shard, {shard_name('val', 0)}, at or below it")
    one = found[0]
    where = one.manifest or one.shards
    try:
        train, val, val_bytes = (_shards(one, kind) for kind in ("train", "val", "val_bytes"))
        model, said = _tokenizer(folder, one, below, tokenizer)
        _check_tokens(one, "val", val)
        _check_tokens(one, "train", train)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: not a manifest of data sets ({type(error).__name__}: {error})") from error
    if len(val_bytes) not in (0, len(val)):
        raise DataError(
            f"{where}: {len(val_bytes)} shards of bytes per token for {len(val)} val shards; get them again"
        )
    return DataFiles(
        train=train,
        val=val,
        val_bytes=val_bytes,
        tokenizer=model,
        manifest=one.manifest,
        entry=one.entry,
        tokenizer_entry=said,
    )


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})")

    for above, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(above, name) for name in sorted(names))


def _candidates(folder: Path, below: list[Path]) -> Iterator[_Candidate]:
    holders = list(dict.fromkeys(path.parent for path in below if _is_shard(path, folder)))
    listed = set()
    for path in below:
        if path.name != MANIFEST_NAME:
            continue
        try:
            content = read_manifest(path) if path.is_file() else _no_file()
            if isinstance(content, dict) and content.keys().isdisjoint(_KEYS):
                continue  # of a web page, say
            entries = list(content["datasets"])
            candidates = [
                _Candidate(inside(path.parent, entry["path"], path), path, content, entry) for entry in entries
            ]
        except DataError:
            raise
        except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
            if not any(shards.is_relative_to(path.parent) for shards in holders):
                continue  # there is nothing that it could be the manifest of
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise DataError(f"{path}: not a manifest of data sets ({why}); get it again, or remove it") from error
        # A published manifest lists more than was downloaded.
        here = [one for one in candidates if one.shards.is_dir()] or candidates[:1]
        listed |= {one.shards.resolve() for one in here}
        yield from here
    for shards in holders:
        if shards.resolve() not in listed:
            yield _Candidate(shards)


def _no_file() -> NoReturn:
    raise OSError(errno.ENOENT, "no file, or a link to none")


def _is_shard(path: Path, folder: Path) -> bool:
    """By its name, or almost so; but downloaders keep notes on shards in hidden folders."""
    hidden = any(part.startswith(".") for part in path.parent.relative_to(folder).parts)
    return bool(_SHARD_LIKE.fullmatch(path.name) or (not hidden and _ALIKE.search(path.name)))


def _shards(one: _Candidate, kind: ShardKind) -> tuple[Path, ...]:
    """The shards of a kind; all that the manifest lists, or for training the first of them."""
    try:
        names = sorted(path.name for path in one.shards.iterdir())
    except OSError as error:
        raise DataError(f"{one.shards}: listed in {one.manifest}, cannot be read ({error.strerror})") from None
    odd = [name for name in names if _ALIKE.search(name) and not _SHARD_LIKE.fullmatch(name)]
    if odd:
        raise DataError(
            f"{one.shards}: {odd[0]!r} is almost named like a shard, {shard_name('val', 0)}, and would not be read; "
            "finish its download, unpack or rename it, or move it elsewhere"
        )
    found = [name for name in names if (match := _SHARD_LIKE.fullmatch(name)) and match[1] == kind]
    expected = [shard_name(kind, index) for index in range(len(found))]
    if found != expected:
        wrong, missing = (next(iter(sorted({*a} - {*b}))) for a, b in ((found, expected), (expected, found)))
        raise DataError(
            f"{one.shards}: {wrong} is not one of its {len(found)} {kind} shards numbered from 0 ({missing} is "
            "missing); keep the shards of one data set there and nothing else"
        )
    if one.manifest is not None:
        absent = kind == "val_bytes" and VAL_BYTES_FILES not in one.entry["stats"]
        listed = 0 if absent else whole_number(one.entry["stats"], f"files_{kind}")
        partly = kind == "train" and FETCHED not in one.entry
        if kind == "train" and not partly:
            listed = whole_number(one.entry, FETCHED)
        if len(found) > listed or (len(found) < listed and not partly):
            raise DataError(f"{one.shards}: {len(found)} {kind} shards, {one.manifest} lists {listed}; get them again")
    if not found and kind == "val":
        raise DataError(f"{one.shards}: no validation shard, {shard_name('val', 0)}; scoring needs at least one")
    return tuple(one.shards / name for name in found)


def _check_tokens(one: _Candidate, split: Split, paths: tuple[Path, ...]) -> None:
    tokens = sum(read_shard(path).size for path in paths)
    stats = one.entry.get("stats", {})
    if len(paths) == stats.get(f"files_{split}") and f"tokens_{split}" in stats:
        said = whole_number(stats, f"tokens_{split}")
        if tokens != said:
            raise DataError(
                f"{one.shards}: its {len(paths)} {split} shards hold {tokens:,} tokens, {one.manifest} says {said:,}; "
                "get them again"
            )


def _tokenizer(folder: Path, one: _Candidate, below: list[Path], given: Path | None) -> tuple[Path, Mapping[str, Any]]:
    """The model file, and what the manifest says of it."""
    if one.manifest is None:
        models = [path for path in below if path.suffix == ".model"] if given is None else [given]
        # Copies are one tokenizer.
        if len(models) != 1 and len({_content(path) if path.is_file() else path for path in models}) != 1:
            raise DataError(
                f"{len(models)} tokenizers (*.model) under {folder.absolute()}{_listed(models)}\npass --tokenizer MODEL"
            )
        return models[0], {}
    name = one.entry["tokenizer_name"]
    entries = [entry for entry in one.content["tokenizers"] if entry["name"] == name]
    if len(entries) != 1:
        raise DataError(f"{one.manifest}: lists {len(entries)} tokenizers named {name!r}, expected one")
    model = inside(one.manifest.parent, entries[0]["model_path"], one.manifest)
    if not os.path.isfile(model):
        if given is None:
            raise DataError(f"{model}: tokenizer listed in {one.manifest} is missing; pass --tokenizer MODEL")
        return given, entries[0]
    if given is not None and _content(given) != _content(model):
        raise DataError(f"--tokenizer {given} is not the one of these shards, {model}; leave it out")
    return model, entries[0]


def _listed(found: Sequence[object]) -> str:
    """A line for each of the first ones, and how many there are besides."""
    more = [f"and {len(found) - _MOST_NAMED:,} more"] if len(found) > _MOST_NAMED else []
    return "".join(f"\n  {one}" for one in [*found[:_MOST_NAMED], *more])


def _content(model: Path) -> bytes:
    try:
        return read_plain(model)
    except OSError as error:
        raise DataError(f"{model}: the tokenizer cannot be read ({error.strerror}); name another one") from None
