"""Data folders in the published layout, with tokens that a test makes up."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sentencepiece
from numpy.typing import ArrayLike

from pgolf.corpus.shards import write_shard

VOCAB_SIZE = 340
SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Pack my box with five dozen liquor jugs, twice.",
    "Sphinx of black quartz, judge my vow! 0123456789",
    "How vexingly quick daft zebras jump over the fence",
]


def write_tokenizer(path: Path) -> Path:
    """A SentencePiece model of 340 pieces with byte fallback and the challenge's special ids."""
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES * 3),
            model_writer=file,
            model_type="bpe",
            vocab_size=VOCAB_SIZE,
            byte_fallback=True,
            split_digits=True,
            add_dummy_prefix=False,
            normalization_rule_name="nmt_nfkc",
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            minloglevel=2,
        )
    return path


def write_data_folder(
    folder: Path,
    *,
    train: Sequence[ArrayLike] = (range(1, 9),),
    val: Sequence[ArrayLike],
    val_bytes: Sequence[ArrayLike] = (),
    vocab_size: int = VOCAB_SIZE,
    tokenizer: Path | None = None,
) -> Path:
    """One shard for each sequence of tokens; without a tokenizer its file is only there to be found."""
    shards = folder / "datasets/toy"
    shards.mkdir(parents=True)
    (folder / "tokenizers").mkdir()
    (folder / "tokenizers/toy.model").write_bytes(tokenizer.read_bytes() if tokenizer else b"not read here")
    for kind, of_kind in (("train", train), ("val", val), ("val_bytes", val_bytes)):
        for index, tokens in enumerate(of_kind):
            write_shard(shards / f"fineweb_{kind}_{index:06d}.bin", np.asarray(tokens))
    stats = {"files_train": len(train), "files_val": len(val)}
    manifest = {
        "version": "10B",
        "tokenizers": [{"name": "toy", "vocab_size": vocab_size, "model_path": "tokenizers/toy.model"}],
        "datasets": [
            {
                "name": "toy",
                "tokenizer_name": "toy",
                "path": "datasets/toy",
                "vocab_size": vocab_size,
                "bos_id": 1,
                "stats": stats | ({"files_val_bytes": len(val_bytes)} if val_bytes else {}),
            }
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
