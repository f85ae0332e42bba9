"""Bytes per token against the text itself, for every kind of tokenizer."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import zstandard

from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.text_bytes import MAX_TOKEN_BYTES, TextBytes, TextCount
from pgolf.errors import DocumentError, TokenizerError
from tests.corpus.odd_tokenizers import (
    DOCUMENTS,
    KINDS,
    PROSE,
    processor_of,
    trained,
    without_byte_pieces,
    without_lone_space,
)

Counted = tuple[list[list[int]], TextCount]


def encode(processor: sentencepiece.SentencePieceProcessor, texts: list[str]) -> list[np.ndarray]:
    return [np.asarray(processor.encode(text), np.int32) for text in texts]


def counted(processor: sentencepiece.SentencePieceProcessor, texts: list[str]) -> Counted:
    """The bytes of each document's tokens, BOS first."""
    encoded = encode(processor, texts)
    bytes_T, found = TextBytes(processor, threads=2).count(texts, encoded, first=0)
    ends = np.cumsum([ids.size + 1 for ids in encoded])
    assert bytes_T.dtype == np.uint16
    assert bytes_T.size == ends[-1]
    return [part.tolist() for part in np.split(bytes_T, ends[:-1])], found


def utf8(text: str) -> int:
    return len(text.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_a_documents_tokens_sum_to_those_of_its_text(kind: str) -> None:
    by_document, found = counted(processor_of(trained(kind)), DOCUMENTS)
    assert [sum(of_one) for of_one in by_document] == [utf8(text) for text in DOCUMENTS]
    assert found.text_bytes == sum(map(utf8, DOCUMENTS))
    assert found.docs == len(DOCUMENTS)
    assert found.docs_off > 0


@pytest.mark.parametrize("kind", ["raw", "pieces of several spaces", "pieces over words", "user-defined, raw"])
def test_where_nothing_is_normalized_each_token_has_the_bytes_of_its_own_piece(kind: str) -> None:
    processor = processor_of(trained(kind))
    compared = 0
    for text, of_one in zip(DOCUMENTS, counted(processor, DOCUMENTS)[0], strict=True):
        ids = processor.encode(text)
        if "▁" in text or any(map(processor.is_byte, ids)):
            continue
        assert of_one == [0, *(utf8(processor.id_to_piece(token).replace("▁", " ")) for token in ids)]
        compared += 1
    assert compared > 15


def test_a_character_in_byte_pieces_counts_at_its_last_one() -> None:
    processor = processor_of(without_lone_space())
    assert [processor.id_to_piece(token) for token in processor.encode("ab é")][-5:-2] == ["<0xE2>", "<0x96>", "<0x81>"]
    assert counted(processor, ["ab é"])[0] == [[0, 2, 0, 0, 1, 0, 2]]


@pytest.mark.parametrize("kind", ["words", "words, dummy prefix", "words, raw"])
def test_a_word_that_is_spelled_in_bytes_has_them_where_they_are_spelled(kind: str) -> None:
    processor = processor_of(trained(kind))
    text = "sa  sa " + "qwxz" * 50 + " ｑé"
    (of_one,), found = counted(processor, [text])
    assert sum(of_one) == utf8(text)
    assert found.docs_off == 1
    pieces = [processor.id_to_piece(token) for token in processor.encode(text)]
    first = pieces.index("<0x71>")
    assert pieces[first : first + 200] == [f"<0x{letter:02X}>" for letter in b"qwxz"] * 50
    assert of_one[first + 1 : first + 201] == [1] * 200
    assert of_one[-3:] == [3, 0, 2]  # a wide letter, spelled in one byte or in three, and an accented one in two


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_that_keeps_the_tables_bytes_has_them_at_every_cut(kind: str) -> None:
    processor = processor_of(trained(kind))
    table = ByteTable.from_processor(processor)
    kept = 0
    for text in [*PROSE, *DOCUMENTS]:
        ids = processor.encode(text)
        (of_one,), found = counted(processor, [text])
        by_table = table.target_bytes(np.array([1, *ids])).tolist()
        if found.docs_off:
            continue
        assert of_one == [0, *by_table]
        kept += 1
        for cut, end in enumerate(np.cumsum(by_table), 1):
            before = text.encode()[:end].decode(errors="ignore")
            if utf8(before) == end:
                # From the definition: the tokens hold what the text before the cut is written as.
                written = processor.normalize(before).replace("▁", " ").strip(" ")
                assert processor.decode(ids[:cut]).strip(" ") == written
    assert kept > 0


def ends_of(processor: sentencepiece.SentencePieceProcessor, text: str) -> dict[str, int]:
    """What the tokens up to each hold -> the bytes of text up to there."""
    (of_one,), _ = counted(processor, [text])
    ids = processor.encode(text)
    return {processor.decode(ids[:cut]): int(end) for cut, end in enumerate(np.cumsum(of_one))}


def test_errors_of_the_table_that_cancel_in_a_document_are_found() -> None:
    processor = processor_of(trained("published"))
    # A superscript two is written in a byte less, a lone cedilla in a byte more.
    text = "the² brown¸the"
    by_document, found = counted(processor, [text, "the… brown\nµ"])
    assert found.table_bytes == found.text_bytes
    assert found.docs_off == 1
    assert sum(by_document[0]) == utf8(text)
    ends = ends_of(processor, text)
    assert ends["the2"] == utf8("the²")
    assert ends["the2 brown"] == utf8("the² brown")


def test_spaces_inside_pieces_and_wide_spaces_do_not_cancel() -> None:
    """Each of the first is counted 2 bytes too long, each of the others 2 bytes too short."""
    processor = processor_of(trained("pieces over words, spaces kept"))
    long, short = "the Quick  brown " * 50, "é\u3000é"
    _, found = counted(processor, [long])
    over = found.table_bytes - found.text_bytes
    assert over > 0
    assert over % 2 == 0
    text = long + "é" + short * (over // 2)
    _, found = counted(processor, [text])
    assert (found.table_bytes, found.docs_off) == (found.text_bytes, 1)
    assert ends_of(processor, text)[long + "é"] == utf8(long + "é")


def test_what_normalization_drops_and_changes_is_measured() -> None:
    _, found = counted(processor_of(trained("published")), ["a  b", "ab", "½", "x\ny"])
    # "a b", "ab", "1⁄2", "x y" are held: 3 + 2 + 5 + 3 bytes of 4 + 2 + 2 + 3.
    assert (found.text_bytes, found.kept_bytes, found.docs_off, found.docs_changed) == (11, 13, 2, 3)
    assert found.dropped_share == pytest.approx(-2 / 11)
    _, found = counted(processor_of(trained("raw")), PROSE)
    assert (found.dropped_share, found.docs_off, found.docs_changed) == (0.0, 0, 0)


def test_what_is_dropped_at_the_end_belongs_to_the_last_token_and_without_tokens_to_bos() -> None:
    processor = processor_of(trained("published"))
    by_document, _ = counted(processor, ["e  ", "  ", "", "  e"])
    assert by_document == [[0, 3], [2], [0], [0, 3]]


def test_the_first_document_of_a_batch_counts_as_each_other_one_does() -> None:
    processor = processor_of(trained("spaces kept"))
    together, _ = counted(processor, DOCUMENTS)
    assert together == [counted(processor, [text])[0][0] for text in DOCUMENTS]


def test_a_token_that_holds_none_of_the_text_it_stands_for_is_refused_with_that_text() -> None:
    processor = processor_of(without_byte_pieces())
    texts = ["the fox", "the Zfox, the Qfox"]
    with pytest.raises(TokenizerError, match=r"document 8 has \d unknown tokens, the first for 'Z' at character 4"):
        TextBytes(processor, threads=1).count(texts, encode(processor, texts), first=7)


def test_more_bytes_than_a_shard_can_hold_for_a_token_go_to_its_neighbours() -> None:
    processor = processor_of(trained("published"))
    gap = " " * (MAX_TOKEN_BYTES + 10)
    by_document, _ = counted(processor, [f"e{gap}e e", f"e e{gap}"])
    assert [sum(of_one) for of_one in by_document] == [len(gap) + 4, len(gap) + 3]
    assert max(max(of_one) for of_one in by_document) == MAX_TOKEN_BYTES
    with pytest.raises(DocumentError, match=r"document 0: 65,545 bytes of text in 1 tokens, at most 65,535 a token"):
        counted(processor, [gap])


@pytest.mark.parametrize(
    "name",
    ["fineweb_1024_bpe", "fineweb_4096_bpe", "fineweb_8192_bpe", "fineweb_8192_bpe_caseops_v1"],
)
def test_200_real_documents_have_the_published_number_of_bytes(real_data: Path, name: str) -> None:
    with zstandard.open(real_data / "fineweb/fineweb_verify_docs.jsonl.zst", "rb") as file:
        documents = [json.loads(line)["text"] for line in io.TextIOWrapper(file, "utf-8")]
    processor = sentencepiece.SentencePieceProcessor(model_file=str(real_data / f"tokenizers/{name}.model"))
    by_document, found = counted(processor, documents)
    assert sum(map(sum, by_document)) == found.text_bytes == 1_489_515
    assert (found.table_bytes, found.kept_bytes, found.docs_off) == (1_489_418, 1_489_418, 34)
