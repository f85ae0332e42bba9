"""A tokenized data set on disk: the shards and the tokenizer listed in its manifest.

manifest.json · datasets/<name>/fineweb_{train,val,val_bytes}_%06d.bin · tokenizers/<name>.model/.vocab
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pgolf.errors import DataError
from pgolf.store.plain_file import read_plain

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = "10B"
# A fetched folder may hold fewer train shards than were published; fetch records how many.
FETCHED = "files_train_fetched"

# File names say fineweb whatever the documents are, because every reader of the format globs for that.
SHARD_PREFIX = "fineweb"

# In the manifest's stats, where there are such shards; a published manifest has no such field.
VAL_BYTES_FILES = "files_val_bytes"

_MOST_IDS = 1 << 16  # shards hold tokens as uint16
_MAX_SHARDS = 10**6  # per kind: shard names have six digits

Split = Literal["train", "val"]

# Shards of tokens per split, and of the bytes of text behind each token of the val shards.
ShardKind = Literal["train", "val", "val_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Paths and ids of a tokenized data set; shards in name order, which is stream order.

    val_byte_shards: one per val shard where the tokenizer's byte table does not give the bytes of the text; else none.
    """

    folder: Path
    name: str
    vocab_size: int
    bos_id: int
    train_shards: tuple[Path, ...]
    val_shards: tuple[Path, ...]
    val_byte_shards: tuple[Path, ...]
    tokenizer_model: Path


def shard_name(kind: ShardKind, index: int) -> str:
    """File name of shard `index` of a kind, counted from 0."""
    return f"{SHARD_PREFIX}_{kind}_{index:06d}.bin"


def holds_bytes(name: str) -> bool:
    """Whether a shard of that file name holds bytes per token, and no tokens."""
    return name.startswith(f"{SHARD_PREFIX}_val_bytes_")


def open_dataset(folder: Path) -> Dataset:
    """Read the manifest of a data folder and check that every file it lists exists.

    File contents are not read: `pgolf.corpus.shards` checks each shard when it is opened.
    Raises DataError for a missing or malformed manifest, a missing shard and a missing tokenizer.
    """
    manifest_path = folder / MANIFEST_NAME
    if not manifest_path.is_file():
        raise DataError(
            f"{folder}: no {MANIFEST_NAME}, so this is not a data folder; "
            "create one with `pgolf tokenize` (your documents) or `pgolf fetch` (published shards)"
        )
    try:
        manifest = read_manifest(manifest_path)
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{manifest_path}: not JSON ({why}); create the data folder again") from error
    try:
        dataset = _only_dataset(manifest, manifest_path)
        stats = dataset["stats"]
        name = str(dataset["name"])
        vocab_size = whole_number(dataset, "vocab_size", most=_MOST_IDS)
        bos_id = whole_number(dataset, "bos_id", most=_MOST_IDS)
        tokenizer_name = str(dataset["tokenizer_name"])
        data_path = inside(folder, dataset["path"], manifest_path)
        files_train = whole_number(dataset, FETCHED) if FETCHED in dataset else whole_number(stats, "files_train")
        files_val = whole_number(stats, "files_val")
        files_val_bytes = whole_number(stats, VAL_BYTES_FILES) if VAL_BYTES_FILES in stats else 0
        if files_val_bytes not in (0, files_val):
            raise ValueError(f"{VAL_BYTES_FILES} is {files_val_bytes}, expected one per val shard ({files_val})")
        tokenizers = {str(entry["name"]): entry for entry in manifest["tokenizers"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{manifest_path}: field missing or of the wrong type ({type(error).__name__}: {error}); "
            "create the data folder again"
        ) from error

    model_path = tokenizers.get(tokenizer_name, {}).get("model_path")
    if not model_path:
        raise DataError(
            f"{manifest_path}: data set {name!r} names tokenizer {tokenizer_name!r} without a model file "
            f"(listed: {', '.join(sorted(tokenizers)) or 'none'}); a SentencePiece model is needed to count bytes"
        )
    tokenizer_model = inside(folder, model_path, manifest_path)
    if not os.path.isfile(tokenizer_model):  # Path.is_file raises for a name too long for the file system
        raise DataError(f"{tokenizer_model}: tokenizer listed in {manifest_path} is missing; create the folder again")
    return Dataset(
        folder=folder,
        name=name,
        vocab_size=vocab_size,
        bos_id=bos_id,
        train_shards=_listed_shards(data_path, "train", files_train, manifest_path),
        val_shards=_listed_shards(data_path, "val", files_val, manifest_path),
        val_byte_shards=_listed_shards(data_path, "val_bytes", files_val_bytes, manifest_path),
        tokenizer_model=tokenizer_model,
    )


def read_manifest(path: Path) -> Any:
    """The JSON in a manifest. Raises OSError, ValueError and RecursionError where there is none."""
    return json.loads(read_plain(path))


def whole_number(entry: Mapping[str, Any], name: str, *, most: int = (1 << 63) - 1) -> int:
    """A count in the manifest. Raises KeyError if absent, ValueError unless it is an integer from 0 to `most`."""
    value = entry[name]
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} is {value!r}, expected an integer of at least 0, at most {most:,}")
    return value


def inside(folder: Path, relative: object, manifest_path: Path) -> Path:
    """Resolve a manifest's relative POSIX path below `folder`. Raises DataError if it leaves it, or none can be it."""
    path = Path(str(relative))
    try:
        os.lstat(folder / path)
    except (OSError, ValueError) as error:  # a NUL, a lone surrogate, a name of 300 bytes, a link to itself
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            what = getattr(error, "strerror", None) or error
            raise DataError(
                f"{manifest_path}: path {str(relative)!r} cannot be looked up ({what}); correct it, or create or fetch "
                "the data folder again"
            ) from None
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{manifest_path}: path {str(relative)!r} leaves the data folder; paths must be relative to it")
    return folder / path


def _only_dataset(manifest: Mapping[str, Any], manifest_path: Path) -> Mapping[str, Any]:
    datasets = manifest["datasets"]
    if len(datasets) != 1:
        names = ", ".join(str(entry["name"]) for entry in datasets) or "none"
        raise DataError(
            f"{manifest_path}: lists {len(datasets)} data sets ({names}), a data folder holds exactly one; "
            "fetch the one you want into its own folder"
        )
    entry: Mapping[str, Any] = datasets[0]
    return entry


def _listed_shards(data_path: Path, kind: ShardKind, count: int, manifest_path: Path) -> tuple[Path, ...]:
    if count < (kind == "val"):  # scoring alone needs no train shards
        raise DataError(f"{manifest_path}: lists {count} {kind} shards; there must be at least one")
    if count > _MAX_SHARDS:
        raise DataError(f"{manifest_path}: lists {count:,} {kind} shards; at most {_MAX_SHARDS:,} can be named")
    try:
        found = {path.name for path in data_path.glob(f"{SHARD_PREFIX}_{kind}_*.bin") if path.is_file()}
    except OSError as error:
        raise DataError(
            f"{data_path}: cannot be read ({error.strerror}); create or fetch the data folder again"
        ) from None
    if kind == "val":
        found = {name for name in found if not holds_bytes(name)}
    listed = [shard_name(kind, index) for index in range(count)]
    missing = [name for name in listed if name not in found]
    if missing:
        raise DataError(
            f"{data_path}: {len(missing)} of {count} {kind} shards are missing, the first is {missing[0]}; "
            "create or fetch the data folder again"
        )
    unlisted = sorted(found.difference(listed))
    if unlisted:
        raise DataError(
            f"{data_path}: {len(unlisted)} {kind} shards beyond the {count} listed in {manifest_path.name}, "
            f"the first is {unlisted[0]}; remove them or create the folder again"
        )
    return tuple(data_path / name for name in listed)
