"""A small data folder with a real tokenizer, and traces and counts over its validation stream."""

import json

import numpy as np
import pytest
import sentencepiece

from pgolf.corpus.shards import write_shard

VOCAB_SIZE = 300


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory):
    """A SentencePiece model of at most 300 pieces with byte fallback and the challenge's special ids."""
    path = tmp_path_factory.mktemp("tokenizer") / "toy.model"
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a rose is a rose is a rose", "the cat sat on the mat, the rat ate the cat"] * 5),
            model_writer=file,
            model_type="bpe",
            vocab_size=VOCAB_SIZE,
            byte_fallback=True,
            add_dummy_prefix=False,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return path


@pytest.fixture
def val_tokens():
    """3,000 tokens drawn from the few ids that the toy model has beyond its byte pieces."""
    return np.random.default_rng(6).integers(255, 280, 3000).astype(np.uint16)


@pytest.fixture
def data_folder(tmp_path, toy_model, val_tokens):
    """A data folder whose only validation shard is val_tokens."""
    folder = tmp_path / "data"
    (folder / "datasets/toy").mkdir(parents=True)
    (folder / "tokenizers").mkdir()
    (folder / "tokenizers/toy.model").write_bytes(toy_model.read_bytes())
    for split in ("train", "val"):
        write_shard(folder / f"datasets/toy/fineweb_{split}_000000.bin", val_tokens)
    manifest = {
        "version": "10B",
        "tokenizers": [{"name": "toy", "vocab_size": VOCAB_SIZE, "model_path": "tokenizers/toy.model"}],
        "datasets": [
            {
                "name": "toy",
                "tokenizer_name": "toy",
                "path": "datasets/toy",
                "vocab_size": VOCAB_SIZE,
                "bos_id": 1,
                "stats": {"files_train": 1, "files_val": 1},
            }
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
