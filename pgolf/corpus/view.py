"""Build a data folder from the files of a data set elsewhere, linked or copied, with a manifest of its own."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pgolf.corpus.data_files import DataFiles
from pgolf.corpus.dataset import MANIFEST_NAME, MANIFEST_VERSION, VAL_BYTES_FILES, ShardKind, shard_name
from pgolf.corpus.model_file import read_model
from pgolf.corpus.vocabulary import check_vocabulary, vocabulary

_NAME = "shards"


def write_view(folder: Path, files: DataFiles, put: Callable[[Path, Path], None]) -> None:
    """Make `folder` a data folder of these files. put: makes one at a new path from where it is.

    Raises TokenizerError if the model cannot be read, or is not of the vocabulary that the files' manifest says.
    """
    processor = read_model(files.tokenizer)
    for entry in (files.entry, files.tokenizer_entry):
        check_vocabulary(processor, entry, f"{files.manifest}, {entry.get('name')}")
    shards, model_path = folder / "datasets" / _NAME, f"tokenizers/{_NAME}.model"
    shards.mkdir(parents=True)
    (folder / "tokenizers").mkdir()
    put(files.tokenizer, folder / model_path)
    shards_of: dict[ShardKind, Sequence[Path]] = {"train": files.train, "val": files.val, "val_bytes": files.val_bytes}
    for kind, paths in shards_of.items():
        for index, path in enumerate(paths):
            put(path, shards / shard_name(kind, index))
    about = vocabulary(processor)
    stats = {"files_train": len(files.train), "files_val": len(files.val)}
    if files.val_bytes:
        stats[VAL_BYTES_FILES] = len(files.val_bytes)
    manifest = {
        "version": MANIFEST_VERSION,
        "tokenizers": [{"name": _NAME, "model_path": model_path, **about}],
        "datasets": [
            {"name": _NAME, "tokenizer_name": _NAME, "path": f"datasets/{_NAME}", "stats": stats, **about},
        ],
    }
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))


def link(path: Path, to: Path) -> None:
    """Put a file there as a symbolic link."""
    to.symlink_to(path.absolute())
