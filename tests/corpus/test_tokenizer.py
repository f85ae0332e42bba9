"""Training gives the same bytes anywhere; loading and training fail with advice."""

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sentencepiece

from pgolf.corpus.tokenizer import load_tokenizer, recommended_bigram_rows, tokenizer_kind, train_tokenizer, vocab_text
from pgolf.errors import DocumentError, TokenizerError

TEXTS = [
    "The quick brown fox jumps over the lazy dog.\nPack my box with five dozen liquor jugs. " * 3,
    " Sphinx of black quartz, judge my vow!\0How vexingly quick daft zebras jump 2024 times. " * 3,
    "\n\t ",
]
PLENTY = 10**9


def pieces(model: bytes) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(i) for i in range(len(processor))]


def test_training_twice_and_in_another_process_and_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    model = train_tokenizer(TEXTS, vocab_size=330, max_bytes=PLENTY)
    assert train_tokenizer(iter(TEXTS), vocab_size=330, max_bytes=PLENTY) == model
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pgolf.corpus.tokenizer import train_tokenizer\n"
        f"open('elsewhere.model', 'wb').write(train_tokenizer({TEXTS!r}, vocab_size=330, max_bytes={PLENTY}))\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, str(root)], cwd=tmp_path, check=True)
    assert (tmp_path / "elsewhere.model").read_bytes() == model


def test_a_trained_tokenizer_has_the_published_specials_byte_pieces_and_split_digits() -> None:
    names = pieces(train_tokenizer(TEXTS, vocab_size=330, max_bytes=PLENTY))
    assert len(names) == 330
    assert names[:4] == ["<pad>", "<s>", "</s>", "<unk>"]
    assert names[4:260] == [f"<0x{byte:02X}>" for byte in range(256)]
    assert not [name for name in names[260:] if len(name) > 1 and any(c.isdigit() for c in name)]


def test_few_words_make_fewer_pieces_than_asked_for() -> None:
    assert 260 < len(pieces(train_tokenizer(["hello there"], vocab_size=2000, max_bytes=PLENTY))) < 300


def test_training_reads_no_further_than_its_byte_limit() -> None:
    first = len(TEXTS[0].strip().encode())
    alone = train_tokenizer(TEXTS[:1], vocab_size=330, max_bytes=PLENTY)
    assert train_tokenizer(TEXTS, vocab_size=330, max_bytes=first) == alone
    assert train_tokenizer(TEXTS, vocab_size=330, max_bytes=1) == alone, "one text is always read"
    assert train_tokenizer(TEXTS, vocab_size=330, max_bytes=PLENTY) != alone


def test_long_documents_are_trained_on_in_full() -> None:
    long = "filler words here " * 500 + "xylophone " * 200
    assert "▁xylophone" in pieces(train_tokenizer([long], vocab_size=330, max_bytes=PLENTY))


def test_a_bad_document_met_while_training_stays_a_document_error() -> None:
    def texts() -> Iterator[str]:
        yield TEXTS[0]
        raise DocumentError("a.jsonl, line 2: not JSON")

    with pytest.raises(DocumentError, match="line 2"):
        train_tokenizer(texts(), vocab_size=330, max_bytes=PLENTY)


def test_texts_a_tokenizer_cannot_be_trained_on_are_refused_with_numbers() -> None:
    with pytest.raises(TokenizerError, match="all blank"):
        train_tokenizer([" ", "\0"], vocab_size=330, max_bytes=PLENTY)
    with pytest.raises(TokenizerError, match=r"of 261 pieces on 2 texts .*larger vocab_size"):
        train_tokenizer(TEXTS, vocab_size=261, max_bytes=PLENTY)


def test_a_tokenizer_that_cannot_be_read_or_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_bytes(b"nonsense")
    (tmp_path / "empty.model").write_bytes(b"")
    for name in ("bad.model", "empty.model", "gone.model"):
        with pytest.raises(TokenizerError, match=f"{name}: not a readable SentencePiece model"):
            load_tokenizer(tmp_path / name)
    with open(tmp_path / "nobos.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS), model_writer=file, vocab_size=50, bos_id=-1, minloglevel=2
        )
    with pytest.raises(TokenizerError, match=r"nobos\.model: no BOS piece"):
        load_tokenizer(tmp_path / "nobos.model")


@pytest.mark.parametrize(("vocab_size", "rows"), [(1024, 5120), (260, 1920), (1, 640), (1025, 5760)])
def test_recommended_bigram_rows_are_the_published_ones(vocab_size: int, rows: int) -> None:
    assert recommended_bigram_rows(vocab_size) == rows


@pytest.mark.parametrize("kind", ["unigram", "bpe", "word", "char"])
def test_a_models_kind_is_the_one_it_was_trained_as(kind: str) -> None:
    model = io.BytesIO()
    sizes = {"bpe": {"vocab_size": 60}, "unigram": {"vocab_size": 60, "hard_vocab_limit": False}}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS[:1]),
        model_writer=model,
        model_type=kind,
        minloglevel=2,
        **sizes.get(kind, {"vocab_size": 30, "hard_vocab_limit": False, "use_all_vocab": True}),
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    assert tokenizer_kind(processor) == f"sentencepiece_{kind}"


def test_the_published_tokenizers_are_of_the_published_kind(real_data: Path) -> None:
    models = sorted((real_data / "tokenizers").glob("*.model"))
    assert {tokenizer_kind(load_tokenizer(model)) for model in models} == {"sentencepiece_bpe"}


def test_the_vocab_file_equals_the_published_one(real_data: Path) -> None:
    for name in ("fineweb_1024_bpe", "fineweb_4096_bpe"):
        processor = load_tokenizer(real_data / f"tokenizers/{name}.model")
        assert vocab_text(processor) == (real_data / f"tokenizers/{name}.vocab").read_text("utf-8")
