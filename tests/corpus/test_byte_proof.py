"""When the table is said to be exact without the text, judged by the text."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import zstandard

from pgolf.corpus import byte_proof
from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.byte_proof import unproved
from pgolf.corpus.shards import write_shard
from tests.corpus.odd_tokenizers import (
    DOCUMENTS,
    KINDS,
    PROSE,
    processor_of,
    trained,
    without_byte_pieces,
    without_lone_space,
)


def stream_of(model: bytes, texts: list[str]) -> list[int]:
    processor = processor_of(model)
    return [token for text in texts for token in (1, *processor.encode(text))]


def why(folder: Path, model: bytes, *shards: list[int]) -> str:
    """What the proof lacks for shards of these tokens."""
    (folder / "odd.model").write_bytes(model)
    for index, tokens in enumerate(shards):
        write_shard(folder / f"{index}.bin", tokens)
    return unproved(folder / "odd.model", [folder / f"{index}.bin" for index in range(len(shards))])


def normalized_bytes(model: bytes, texts: list[str], *, dummy: bool) -> int:
    """From the definition: the UTF-8 bytes of normalized text, without the dummy space."""
    processor = processor_of(model)
    texts = [processor.normalize(text) for text in texts]
    return sum(len((text.removeprefix("▁") if dummy else text).replace("▁", " ").encode()) for text in texts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [DOCUMENTS, PROSE, *([text] for text in DOCUMENTS[::9])])
def test_a_table_that_is_proved_exact_gives_the_bytes_of_the_normalized_text(
    tmp_path: Path, kind: str, texts: list[str]
) -> None:
    model = trained(kind)
    stream = stream_of(model, texts)
    if not why(tmp_path, model, stream):
        by_table = ByteTable.from_processor(processor_of(model)).target_bytes(np.array(stream)).sum()
        assert by_table == normalized_bytes(model, texts, dummy=KINDS[kind].get("add_dummy_prefix", False))


USUAL = ["published", "dummy prefix", "case folded", "raw", "unigram", "characters", "control"]


@pytest.mark.parametrize("kind", USUAL)
def test_prose_is_proved_for_every_tokenizer_of_the_usual_kind(tmp_path: Path, kind: str) -> None:
    model = trained(kind)
    assert why(tmp_path, model, [*stream_of(model, PROSE), 2]) == ""


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("pieces of several spaces", "a   b", "piece 260 '▁▁' (1 times) holds a space behind its first character"),
        ("pieces over words", "  日本語", "holds a space behind its first character, counted as 3 bytes"),
        ("space behind the word", "a b", "puts the space behind the word"),
        ("user-defined", "a<op>b<op>", "piece 4 '<op>' (2 times) is user-defined"),
        ("raw", " a", "1 documents begin with a space"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, kind: str, text: str, says: str) -> None:
    assert says in why(tmp_path, trained(kind), stream_of(trained(kind), [text]))


def test_a_kind_of_piece_that_no_token_uses_does_no_harm(tmp_path: Path) -> None:
    for kind in ("pieces of several spaces", "pieces over words", "user-defined"):
        assert why(tmp_path, trained(kind), stream_of(trained(kind), ["def the brown"])) == ""


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ([1, 300, 3], "piece 3 '<unk>' (1 times) stands for text that is not known"),
        ([1, 300, 0, 301], "piece 0 '<pad>' (1 times) stands for no text"),
        ([1, 300, 60_000], "1 tokens have id 60000, the tokenizer's last is"),
        ([300, 1, 301], "do not begin with a BOS"),
    ],
)
def test_tokens_that_no_text_gives_are_named(tmp_path: Path, tokens: list[int], says: str) -> None:
    assert says in why(tmp_path, trained("published"), tokens)


def test_an_unknown_token_of_a_text_is_named(tmp_path: Path) -> None:
    model = without_byte_pieces()
    assert "'<unk>' (2 times)" in why(tmp_path, model, stream_of(model, ["the Z", "Z fox"]))


@pytest.mark.parametrize("block_tokens", [1, 2, 3, 1 << 22])
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
def test_spaces_in_bytes_and_at_the_start_are_found_across_every_border(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_tokens: int, cut: int
) -> None:
    monkeypatch.setattr(byte_proof, "_BLOCK_TOKENS", block_tokens)
    spelled = stream_of(without_lone_space(), ["abc abc", "cab"])
    assert why(tmp_path, without_lone_space(), spelled[:cut], spelled[cut:]).startswith("1 spaces are spelled in three")
    raw = stream_of(trained("raw"), ["a", " b", "the", "  x"])
    assert why(tmp_path, trained("raw"), raw[:cut], raw[cut:]).startswith("2 documents begin with a space")


@pytest.mark.parametrize("block_tokens", [1, 2, 3, 1 << 22])
@pytest.mark.parametrize("sign", ["\ue001", "\uf8ff", "\U000f0000", "\U0010fffd"])
def test_private_use_characters_are_found_in_pieces_and_in_bytes_across_every_border(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str, block_tokens: int
) -> None:
    monkeypatch.setattr(byte_proof, "_BLOCK_TOKENS", block_tokens)
    model = trained("raw")  # with a piece of U+E001 alone
    stream = stream_of(model, [f"the {sign}fox, a {sign}b", "plain \uf900\ufeff"])
    for cut in range(1, 12):
        said = why(tmp_path, model, stream[:cut], stream[cut:])
        assert said.startswith(f"the text holds 2 private-use characters (U+{ord(sign):04X} 2 times)")


def test_rules_of_normalization_that_somebody_wrote_are_not_accepted(tmp_path: Path) -> None:
    rules = tmp_path / "rules.tsv"
    rules.write_text("61\t62\n")  # a becomes b
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(PROSE),
        model_writer=model,
        vocab_size=300,
        byte_fallback=True,
        model_type="bpe",
        hard_vocab_limit=False,
        normalization_rule_tsv=str(rules),
        minloglevel=2,
    )
    assert "normalizes by rules of its own ('user_defined')" in why(tmp_path, model.getvalue(), [1, 270])


def test_the_real_validation_prefix_is_proved(real_data: Path) -> None:
    shard = real_data / "fineweb/fineweb_val_prefix_sp1024.bin"
    assert unproved(real_data / "tokenizers/fineweb_1024_bpe.model", [shard]) == ""


def test_real_text_rewritten_with_operators_is_not_proved(real_data: Path, tmp_path: Path) -> None:
    with zstandard.open(real_data / "fineweb/fineweb_verify_docs.jsonl.zst", "rb") as file:
        documents = [json.loads(line)["text"] for line in io.TextIOWrapper(file, "utf-8")][:5]
    rewritten = ["".join(f"\ue001{c.lower()}" if c.isupper() else c for c in text) for text in documents]
    model = (real_data / "tokenizers/fineweb_8192_bpe_caseops_v1.model").read_bytes()
    assert "is user-defined" in why(tmp_path, model, stream_of(model, rewritten))
