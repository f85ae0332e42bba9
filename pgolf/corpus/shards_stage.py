"""Stage `shards`: a data set that is on disk already, into a data folder of its own.

Copied, not linked: what training and scoring read for hours must not change under them.
"""

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from pgolf.corpus.byte_proof import unverified
from pgolf.corpus.data_files import find_data
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import read_shard
from pgolf.corpus.shards_config import ShardsConfig
from pgolf.corpus.tokenizer import load_tokenizer
from pgolf.corpus.view import write_view
from pgolf.corpus.vocabulary import vocabulary_digest
from pgolf.run_options import Made, Progress, RunOptions

_COPY_BYTES = 1 << 27


def make(_config: ShardsConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Copy the only data set at or below inputs["data"] into `out`.

    inputs: `data`, a folder; `tokenizer`, a SentencePiece model, where the folder has none. Raises DataError for none
    or several data sets, ShardError for a file that is no shard and for bytes that are not those of the tokens,
    TokenizerError for a tokenizer that is not theirs.
    """
    started = time.perf_counter()
    files = find_data(inputs["data"], inputs.get("tokenizer"))
    doubt = unverified(files.tokenizer, files.val, files.val_bytes)  # errors name the files that people know
    checked = time.perf_counter()
    total, done = len(files.by_name), 0

    def copy(path: Path, to: Path) -> None:
        nonlocal done
        _copy(path, to)
        done += 1
        run.report(Progress(stage="shards", done=done, total=total, unit="files"))

    write_view(out, files, copy)
    copied = time.perf_counter()
    data = open_dataset(out)
    processor = load_tokenizer(data.tokenizer_model)
    return Made(
        digests={"vocabulary": vocabulary_digest(processor)},
        phases_s={"check": checked - started, "copy": copied - checked},
        facts={
            "vocab_size": data.vocab_size,
            "tokens_train": sum(read_shard(path).size for path in data.train_shards),
            "tokens_val": sum(read_shard(path, vocab_size=data.vocab_size).size for path in data.val_shards),
            "files": len(data.train_shards) + len(data.val_shards),
            "bytes_verified": not doubt,
            "bytes_unverified": doubt or None,
        },
    )


def _copy(path: Path, to: Path) -> None:
    """Copy a file; where the file system can, without writing its bytes again."""
    with path.open("rb") as source, to.open("xb") as target:
        try:
            while os.copy_file_range(source.fileno(), target.fileno(), _COPY_BYTES):
                pass
        except OSError:  # not every file system can, and not every pair of them
            source.seek(0)
            target.seek(0)
            shutil.copyfileobj(source, target, 1 << 20)
