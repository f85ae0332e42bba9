"""Build a data folder from existing files elsewhere: symbolic links plus a manifest."""

import json
from collections.abc import Sequence
from pathlib import Path

from pgolf.corpus.dataset import MANIFEST_NAME, MANIFEST_VERSION, VAL_BYTES_FILES, ShardKind, holds_bytes, shard_name
from pgolf.corpus.model_file import read_model
from pgolf.errors import DataError

_NAME = "linked"


def write_view(folder: Path, *, tokenizer: Path, train: Sequence[Path], val: Sequence[Path]) -> None:
    """Make `folder` a data folder that links to these shards, each split in name order, and this SentencePiece model.

    val: with the shards of their bytes, where there are some. Raises DataError if there is no validation shard,
    TokenizerError if the model cannot be read.
    """
    counted = [path for path in val if holds_bytes(path.name)]
    val = [path for path in val if not holds_bytes(path.name)]
    if not val:
        raise DataError("no validation shard given; scoring needs at least one fineweb_val_*.bin")
    processor = read_model(tokenizer)
    shards, tokenizers = folder / "datasets" / _NAME, folder / "tokenizers"
    shards.mkdir(parents=True)
    tokenizers.mkdir()
    (tokenizers / f"{_NAME}.model").symlink_to(tokenizer.absolute())
    shards_of: dict[ShardKind, Sequence[Path]] = {"train": train, "val": val, "val_bytes": counted}
    for kind, paths in shards_of.items():
        for index, path in enumerate(sorted(paths, key=lambda path: path.name)):
            (shards / shard_name(kind, index)).symlink_to(path.absolute())
    about = {"vocab_size": len(processor), "bos_id": processor.bos_id()}
    stats = {"files_train": len(train), "files_val": len(val), VAL_BYTES_FILES: len(counted)}
    manifest = {
        "version": MANIFEST_VERSION,
        "tokenizers": [{"name": _NAME, "model_path": f"tokenizers/{_NAME}.model", **about}],
        "datasets": [
            {"name": _NAME, "tokenizer_name": _NAME, "path": f"datasets/{_NAME}", "stats": stats, **about},
        ],
    }
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
