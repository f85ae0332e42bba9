"""The byte tables against the text they count."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.shards import read_shard
from pgolf.errors import TokenizerError

BOS = 1


def stream_bytes_by_text(processor: sentencepiece.SentencePieceProcessor, documents: list[str]) -> int:
    """From the definition: UTF-8 bytes of every document's normalized text, a space at its very start being free."""
    return sum(len(processor.normalize(text).removeprefix("▁").replace("▁", " ").encode()) for text in documents)


def encode_stream(processor: sentencepiece.SentencePieceProcessor, documents: list[str]) -> np.ndarray:
    return np.array([token for text in documents for token in [BOS, *processor.encode(text)]], dtype=np.uint16)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_target_bytes_sum_to_the_bytes_of_the_normalized_text(toy_tokenizer: Path, documents: list[str]) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(toy_tokenizer))
    tokens = encode_stream(processor, documents)
    table = ByteTable.from_tokenizer(toy_tokenizer)
    assert table.target_bytes(tokens).sum() == stream_bytes_by_text(processor, documents)


def test_each_kind_of_piece_has_its_row(toy_tokenizer: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(toy_tokenizer))
    table = ByteTable.from_tokenizer(toy_tokenizer, vocab_size=400)
    assert table.base_bytes.dtype == np.int16
    assert len(table.base_bytes) == len(table.leading_space) == len(table.boundary) == 400
    pieces = processor.get_piece_size()
    specials, padding = list(range(4)), list(range(pieces, 400))
    assert padding
    for row in specials + padding:
        assert (table.base_bytes[row], table.leading_space[row], table.boundary[row]) == (0, False, True)
    for row in range(4, 260):
        assert (table.base_bytes[row], table.leading_space[row], table.boundary[row]) == (1, False, False)
    for row in range(260, pieces):
        piece = processor.id_to_piece(row)
        assert table.base_bytes[row] == len(piece.replace("▁", "", 1).encode() if piece[0] == "▁" else piece.encode())
        assert table.leading_space[row] == (piece[0] == "▁")
        assert not table.boundary[row]


def test_a_space_is_free_only_after_a_boundary(toy_tokenizer: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(toy_tokenizer))
    table = ByteTable.from_tokenizer(toy_tokenizer)
    space, byte = processor.piece_to_id("▁"), processor.piece_to_id("<0xE2>")
    assert table.leading_space[space]
    tokens = np.array([byte, space, BOS, space, space, byte, BOS, BOS], dtype=np.uint16)
    assert table.target_bytes(tokens).tolist() == [1, 0, 0, 1, 1, 0, 0]


def test_padding_rows_do_not_change_any_count(toy_tokenizer: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 280, 1000).astype(np.uint16)
    plain = ByteTable.from_tokenizer(toy_tokenizer).target_bytes(tokens)
    assert np.array_equal(plain, ByteTable.from_tokenizer(toy_tokenizer, vocab_size=2048).target_bytes(tokens))


def test_counts_do_not_depend_on_the_block_they_are_computed_in(
    toy_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = np.random.default_rng(0).integers(0, 280, 1000).astype(np.uint16)
    table = ByteTable.from_tokenizer(toy_tokenizer)
    whole = table.target_bytes(tokens)
    for block in (1, 7, 999, 1000):
        monkeypatch.setattr("pgolf.corpus.byte_lengths._BLOCK", block)
        assert np.array_equal(table.target_bytes(tokens), whole)
    assert whole.dtype == np.int64


@pytest.mark.parametrize("length", [0, 1])
def test_a_stream_without_targets_has_no_bytes(toy_tokenizer: Path, length: int) -> None:
    assert ByteTable.from_tokenizer(toy_tokenizer).target_bytes(np.ones(length, dtype=np.uint16)).shape == (0,)


def test_an_unreadable_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_bytes(b"not a model")
    (tmp_path / "empty.model").touch()
    for name in ("bad.model", "empty.model", "gone.model"):
        with pytest.raises(TokenizerError, match=name):
            ByteTable.from_tokenizer(tmp_path / name)


def test_the_real_validation_prefix_has_the_published_byte_counts(real_data: Path) -> None:
    tokens = read_shard(real_data / "fineweb/fineweb_val_prefix_sp1024.bin", vocab_size=1024)
    table = ByteTable.from_tokenizer(real_data / "tokenizers/fineweb_1024_bpe.model", vocab_size=1024)
    lengths = table.target_bytes(tokens)
    assert (lengths.size, int(lengths.sum())) == (399_999, 957_770)
    assert int(lengths[:399_360].sum()) == 956_288


@pytest.mark.parametrize("name", ["fineweb_1024_bpe.model", "fineweb_4096_bpe.model", "fineweb_8192_bpe.model"])
def test_real_documents_count_the_bytes_of_their_normalized_text(real_data: Path, name: str) -> None:
    with zstandard.open(real_data / "fineweb/fineweb_verify_docs.jsonl.zst", "rb") as file:
        documents = [json.loads(line)["text"] for line in io.TextIOWrapper(file, "utf-8")][:40]
    model = real_data / "tokenizers" / name
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    tokens = encode_stream(processor, documents)
    assert ByteTable.from_tokenizer(model).target_bytes(tokens).sum() == stream_bytes_by_text(processor, documents)


def test_a_total_counts_each_target_as_often_as_it_is_named(toy_tokenizer: Path) -> None:
    table = ByteTable.from_tokenizer(toy_tokenizer)
    tokens = np.arange(4, 60)
    lengths = table.target_bytes(tokens)
    targets = np.array([7, 3, 3, 55])
    assert table.total_bytes(tokens, targets) == sum(int(lengths[target - 1]) for target in targets)
