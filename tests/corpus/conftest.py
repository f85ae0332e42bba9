"""A hand-made data folder, and the real data where a machine has it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from pgolf.corpus.shards import write_shard

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Pack my box with five dozen liquor jugs, twice.",
    "Sphinx of black quartz, judge my vow! 0123456789",
    "How vexingly quick daft zebras jump over the fence",
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of up to 340 pieces with the challenge's special ids."""
    path = tmp_path_factory.mktemp("tokenizer") / "tiny.model"
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES * 3),
            model_writer=file,
            model_type="bpe",
            vocab_size=340,
            byte_fallback=True,
            split_digits=True,
            add_dummy_prefix=False,
            normalization_rule_name="nmt_nfkc",
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return path


@pytest.fixture
def data_folder(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    """Writes a data folder from lists of shards: data_folder(train=[[1, 2], …], val=[[1, 5], …], vocab_size=340)."""

    def build(
        *, train: Sequence[Sequence[int]], val: Sequence[Sequence[int]], vocab_size: int = 340, at: str = "data"
    ) -> Path:
        folder = tmp_path / at
        (folder / "datasets/toy").mkdir(parents=True)
        (folder / "tokenizers").mkdir()
        (folder / "tokenizers/tiny.model").write_bytes(tiny_model.read_bytes())
        for split, shards in (("train", train), ("val", val)):
            for index, tokens in enumerate(shards):
                write_shard(folder / f"datasets/toy/fineweb_{split}_{index:06d}.bin", np.array(tokens))
        manifest = {
            "version": "10B",
            "tokenizers": [{"name": "tiny", "vocab_size": vocab_size, "model_path": "tokenizers/tiny.model"}],
            "datasets": [
                {
                    "name": "toy",
                    "tokenizer_name": "tiny",
                    "path": "datasets/toy",
                    "vocab_size": vocab_size,
                    "bos_id": 1,
                    "stats": {"files_train": len(train), "files_val": len(val)},
                }
            ],
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return build
