"""The tokenize stage, judged by one document at a time, and its outcome for every kind of corpus."""

import hashlib
import json
import multiprocessing
import os
import random
import time
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from pgolf.corpus import tokenize_stage as tokenize
from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.shards import read_shard, validation_tokens
from pgolf.corpus.target_bytes import TargetBytes
from pgolf.corpus.tokenize_stage import in_validation
from pgolf.errors import ConfigError, DocumentError, PgolfError, TokenizerError
from pgolf.run_options import Made, Progress, RunOptions
from tests.corpus.odd_tokenizers import DOCUMENTS, KINDS, PROSE, processor_of, trained, without_byte_pieces
from tests.oracles.plain_tokenize import cut, streams_by_definition

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "sphinx", "judge", "quartz", "naïvely", "☕"]


def documents_of(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) + f" {i}" for i in range(count)]


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


def make(config: TokenizeConfig, inputs: Mapping[str, Path], out: Path, **options: object) -> Made:
    out.mkdir()
    return tokenize.make(config, inputs, out, RunOptions(threads=2, **options))


def payload(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def shard_lists(folder: Path, split: str) -> list[list[int]]:
    dataset = open_dataset(folder)
    return [read_shard(path).tolist() for path in (dataset.val_shards if split == "val" else dataset.train_shards)]


def bytes_by_document(folder: Path) -> list[int]:
    """What the scores of a data folder count, by validation document."""
    dataset = open_dataset(folder)
    tokens = np.concatenate([read_shard(path) for path in dataset.val_shards])
    lengths = TargetBytes(dataset, tokens)
    totals: list[int] = []
    for place, token in enumerate(tokens.tolist()):
        if token == dataset.bos_id:
            totals.append(0)
        if place:
            totals[-1] += lengths.total(np.array([place]))
    return totals


def make_with(folder: Path, model: bytes, texts: list[str], **options: object) -> Made:
    """The stage on these documents, all but the last held out, with a given tokenizer, into folder/out."""
    folder.mkdir(exist_ok=True)
    (folder / "odd.model").write_bytes(model)
    inputs = {"documents": write_jsonl(folder / "documents.jsonl", texts), "tokenizer": folder / "odd.model"}
    config = TokenizeConfig(
        tokenizer="given",
        vocab_size=len(processor_of(model)),
        val_split="first",
        val_documents=len(texts) - 1,
        shard_tokens=100,
    )
    return make(config, inputs, folder / "out", **options)


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=2, max_size=12),
    shard_tokens=st.integers(1, 40),
    batch_characters=st.integers(1, 60),
    hashed=st.booleans(),
    number=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_shards_hold_what_one_document_at_a_time_gives(
    tmp_path_factory: pytest.TempPathFactory,
    toy_tokenizer: Path,
    texts: list[str],
    shard_tokens: int,
    batch_characters: int,
    hashed: bool,
    number: int,
) -> None:
    folder = tmp_path_factory.mktemp("tokenize")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(toy_tokenizer))
    config = TokenizeConfig(
        name="toy",
        tokenizer="given",
        vocab_size=len(processor),
        shard_tokens=shard_tokens,
        val_split="content_hash" if hashed else "first",
        val_documents=number,
        val_one_in=number + 1,
    )
    held_out = [in_validation(text, number + 1) if hashed else i < number for i, text in enumerate(texts)]
    inputs = {"documents": write_jsonl(folder / "documents.jsonl", texts), "tokenizer": toy_tokenizer}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenize, "_BATCH_CHARACTERS", batch_characters)
        if all(held_out) or not any(held_out):
            with pytest.raises(DocumentError, match="is left for"):
                make(config, inputs, folder / "out")
            return
        made = make(config, inputs, folder / "out")
    streams = streams_by_definition(processor, list(zip(texts, held_out)))
    for split, stream in streams.items():
        assert shard_lists(folder / "out", split) == cut(stream, shard_tokens)
        assert made.facts[f"tokens_{split}"] == len(stream)
    val_bytes = [len(text.encode()) for text, is_val in zip(texts, held_out) if is_val]
    # The first token of the stream, a BOS, is no target: what a document without other tokens has is not counted.
    val_bytes[0] *= bool(processor.encode(texts[held_out.index(True)]))
    assert bytes_by_document(folder / "out") == val_bytes
    signs = {unicodedata.category(c) for text, is_val in zip(texts, held_out) if is_val for c in text} & {"Co"}
    assert made.facts["bytes_verified"] is not bool(signs)
    counted = {} if made.facts["bytes_by"] == "table" else {"files_val_bytes": len(cut(streams["val"], shard_tokens))}
    stats = json.loads((folder / "out/manifest.json").read_text())["datasets"][0]["stats"]
    assert stats == {
        "docs_total": len(texts),
        "docs_val": sum(held_out),
        "docs_train": len(texts) - sum(held_out),
        "files_total": len(cut(streams["val"], shard_tokens)) + len(cut(streams["train"], shard_tokens)),
        "files_val": len(cut(streams["val"], shard_tokens)),
        "files_train": len(cut(streams["train"], shard_tokens)),
        "tokens_total": len(streams["val"]) + len(streams["train"]),
        "tokens_val": len(streams["val"]),
        "tokens_train": len(streams["train"]),
        **counted,
    }


def test_a_rerun_anywhere_with_any_number_of_threads_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TokenizeConfig(vocab_size=330, val_split="content_hash", val_one_in=5, shard_tokens=700)
    inputs = {"documents": write_jsonl(tmp_path / "a.jsonl", documents_of(200))}
    make(config, inputs, tmp_path / "one")
    (tmp_path / "elsewhere").mkdir()
    moved = {"documents": write_jsonl(tmp_path / "elsewhere/b.jsonl", documents_of(200))}
    monkeypatch.setattr(tokenize, "_BATCH_CHARACTERS", 1000)
    (tmp_path / "two").mkdir()
    tokenize.make(config, moved, tmp_path / "two", RunOptions(threads=1))
    assert payload(tmp_path / "one") == payload(tmp_path / "two")
    assert len(payload(tmp_path / "one")) > 6


def _tokenize_slowly(config: TokenizeConfig, documents: Path, out: Path) -> None:
    """In a child to be killed: as the stage, with a pause after each of many small batches."""
    tokenize._BATCH_CHARACTERS = 500
    append = tokenize.ShardWriter.append

    def append_and_pause(self: tokenize.ShardWriter, tokens: object) -> None:
        append(self, tokens)
        time.sleep(0.02)

    tokenize.ShardWriter.append = append_and_pause
    tokenize.make(config, {"documents": documents}, out, RunOptions(threads=1))


def test_a_run_killed_half_way_and_started_again_gives_the_same_bytes(tmp_path: Path) -> None:
    config = TokenizeConfig(vocab_size=330, val_split="content_hash", val_one_in=5, shard_tokens=700)
    documents = write_jsonl(tmp_path / "a.jsonl", documents_of(300))
    for name in ("killed", "again", "whole"):
        (tmp_path / name).mkdir()
    child = multiprocessing.get_context("spawn").Process(
        target=_tokenize_slowly, args=(config, documents, tmp_path / "killed")
    )
    child.start()
    while child.is_alive() and not list((tmp_path / "killed").rglob("fineweb_train_000001.bin")):
        time.sleep(0.005)
    child.kill()
    child.join()
    assert child.exitcode == -9, "killed while it worked"
    with pytest.raises(PgolfError):
        open_dataset(tmp_path / "killed")
    for name in ("again", "whole"):
        tokenize.make(config, {"documents": documents}, tmp_path / name, RunOptions())
    assert payload(tmp_path / "again") == payload(tmp_path / "whole")


def test_what_is_held_out_by_content_does_not_depend_on_the_order(tmp_path: Path, toy_tokenizer: Path) -> None:
    texts = documents_of(200)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(toy_tokenizer))
    config = TokenizeConfig(tokenizer="given", vocab_size=len(processor), val_split="content_hash", val_one_in=10)
    held_out = []
    for name, order in (("a", texts), ("b", texts[::-1])):
        inputs = {"documents": write_jsonl(tmp_path / f"{name}.jsonl", order), "tokenizer": toy_tokenizer}
        make(config, inputs, tmp_path / name)
        split = {part: set() for part in ("val", "train")}
        for part, documents in split.items():
            stream = [token for shard in shard_lists(tmp_path / name, part) for token in shard]
            starts = [i for i, token in enumerate(stream) if token == 1] + [len(stream)]
            documents |= {tuple(stream[i:j]) for i, j in pairwise(starts)}
        assert not split["val"] & split["train"]
        assert len(split["val"]) + len(split["train"]) == 200
        held_out.append(split["val"])
    assert held_out[0] == held_out[1]
    assert 10 <= len(held_out[0]) <= 32, "about one in ten: 20, six sigma is 25 away"


def test_the_built_in_corpus_becomes_a_data_set_that_can_be_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = documents_of(300)
    monkeypatch.setattr(tokenize, "builtin_documents", lambda: texts)
    reports: list[Progress] = []
    monkeypatch.setattr(tokenize, "_REPORT_EVERY_S", 0.0)
    config = TokenizeConfig(name="builtin_sp330", source="builtin", vocab_size=330, val_split="content_hash")
    made = make(config, {}, tmp_path / "out", report=reports.append)
    dataset = open_dataset(tmp_path / "out")
    assert dataset.name == "builtin_sp330"
    assert dataset.vocab_size == made.facts["vocab_size"] == 330
    assert sorted(payload(tmp_path / "out")) == [
        "datasets/builtin_sp330/fineweb_train_000000.bin",
        "datasets/builtin_sp330/fineweb_val_000000.bin",
        "manifest.json",
        "tokenizers/builtin_sp330.model",
        "tokenizers/builtin_sp330.vocab",
    ]
    tokens = read_shard(dataset.val_shards[0])
    lengths = ByteTable.from_tokenizer(dataset.tokenizer_model, vocab_size=330).target_bytes(tokens)
    assert made.facts["bytes_per_token"] == pytest.approx(lengths.mean(), rel=1e-12)
    assert validation_tokens(dataset, window=32).size % 32 == 1
    assert (reports[-1].done, reports[-1].total, reports[-1].unit) == (300, 300, "documents")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_count_the_bytes_of_the_documents_whatever_the_tokenizer(tmp_path: Path, kind: str) -> None:
    made = make_with(tmp_path, trained(kind), [*DOCUMENTS, "to train on"])
    assert bytes_by_document(tmp_path / "out") == [len(text.encode()) for text in DOCUMENTS]
    assert made.facts["bytes_by"] == "text"
    assert made.facts["val_text_bytes"] == sum(len(text.encode()) for text in DOCUMENTS)


def test_where_the_table_is_exact_nothing_is_written_beside_the_shards(tmp_path: Path) -> None:
    made = make_with(tmp_path, trained("published"), [*PROSE, "to  train  on"])
    assert not [name for name in payload(tmp_path / "out") if "val_bytes" in name]
    assert "files_val_bytes" not in (tmp_path / "out/manifest.json").read_text()
    assert (made.facts["bytes_by"], made.facts["bytes_verified"], made.facts["dropped_share"]) == ("table", True, 0.0)
    # The train documents are looked at too, and say what the training misses; scores do not read them.
    assert (made.facts["train_sample_docs"], made.facts["train_sample_docs_off"]) == (1, 1)
    assert made.facts["train_sample_dropped_share"] == pytest.approx(2 / 13)


def test_what_normalization_drops_of_the_validation_text_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    texts = ["def f(x):\n        return x\n", "a b", "to train on"]
    made = make_with(tmp_path, trained("published"), texts, log_line=lines.append)
    assert made.facts["dropped_share"] == pytest.approx(9 / 30)
    assert lines == [
        "the byte table is off for 1 of 2 validation documents (21 bytes for 30 bytes of text), so scores count by "
        "the text itself; the tokens hold 21 of 30 bytes: normalization drops 30.00% and changes 1 documents"
    ]


@pytest.mark.parametrize("sign", ["\ue001", "\uf8ff", "\U000f0000", "\U0010fffd"])
@pytest.mark.parametrize("kind", ["operators", "published"])
def test_text_with_private_use_characters_is_not_verified_whatever_holds_them(
    tmp_path: Path, kind: str, sign: str
) -> None:
    lines: list[str] = []
    texts = [f"{sign}the {sign}fox", "the fox", "to train on"]
    made = make_with(tmp_path, trained(kind), texts, log_line=lines.append)
    assert made.facts["bytes_verified"] is False
    named = f"the text holds 2 private-use characters (U+{ord(sign):04X} 2 times)"
    assert named in str(made.facts["bytes_unverified"])
    assert lines[-1] == f"bytes not verified: {made.facts['bytes_unverified']}"
    plain = make_with(tmp_path / "plain", trained(kind), texts[1:])
    assert (plain.facts["bytes_verified"], plain.facts["bytes_unverified"]) == (True, None)


def test_a_tokenizer_without_a_token_for_some_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"validation document 1 has 1 unknown tokens, the first for 'Z'"):
        make_with(tmp_path, without_byte_pieces(), ["the fox", "a Z", "to train on"])


def test_the_tokenizer_is_trained_on_the_train_documents_alone(tmp_path: Path) -> None:
    texts = ["xylophone " * 50, *documents_of(40)]
    inputs = {"documents": write_jsonl(tmp_path / "a.jsonl", texts)}
    make(TokenizeConfig(vocab_size=330, val_documents=1), inputs, tmp_path / "out")
    assert "xylo" not in (tmp_path / "out/tokenizers/documents.vocab").read_text("utf-8")


def test_a_smaller_vocabulary_than_asked_for_is_recorded(tmp_path: Path) -> None:
    inputs = {"documents": write_jsonl(tmp_path / "a.jsonl", documents_of(10))}
    made = make(TokenizeConfig(vocab_size=5000, val_documents=1), inputs, tmp_path / "out")
    assert isinstance(made.facts["vocab_size"], int)
    assert made.facts["vocab_size"] < 1000
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["datasets"][0]["vocab_size"] == manifest["tokenizers"][0]["vocab_size"] == made.facts["vocab_size"]
    assert manifest["tokenizer_specs"][0]["vocab_size"] == 5000
    assert (
        len((tmp_path / "out/tokenizers/documents.vocab").read_text("utf-8").split("\n")) - 1
        == open_dataset(tmp_path / "out").vocab_size
    )


def test_bad_documents_are_an_error_or_counted_and_told(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", documents_of(20))
    path.write_bytes(path.read_bytes() + b"not json\n")
    with pytest.raises(DocumentError, match=r"a\.jsonl, line 21: not JSON"):
        make(TokenizeConfig(vocab_size=330, val_documents=2), {"documents": path}, tmp_path / "strict")
    lines: list[str] = []
    config = TokenizeConfig(vocab_size=330, val_documents=2, skip_bad=1)
    made = make(config, {"documents": path}, tmp_path / "lenient", log_line=lines.append)
    assert (made.facts["skipped_docs"], made.facts["num_docs"]) == (1, 20)
    assert [line for line in lines if "line 21" in line] == [line for line in lines if line.startswith("skipped")]
    assert len([line for line in lines if "line 21" in line]) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TokenizeConfig(vocab_size=330), "no document of 20 is left for training under val_documents=50000"),
        (TokenizeConfig(vocab_size=330, val_split="content_hash", val_one_in=10**6), "left for validation under"),
    ],
)
def test_a_split_without_documents_is_an_error(tmp_path: Path, config: TokenizeConfig, message: str) -> None:
    inputs = {"documents": write_jsonl(tmp_path / "a.jsonl", documents_of(20))}
    with pytest.raises(DocumentError, match=message):
        make(config, inputs, tmp_path / "out")


def test_a_given_tokenizer_must_have_the_vocabulary_the_config_names(tmp_path: Path, toy_tokenizer: Path) -> None:
    inputs = {"documents": write_jsonl(tmp_path / "a.jsonl", documents_of(20)), "tokenizer": toy_tokenizer}
    with pytest.raises(
        TokenizerError, match=r"toy\.model: 340 pieces, tokenize.vocab_size is 1024; add --set tokenize.vocab_size=340"
    ):
        make(TokenizeConfig(tokenizer="given"), inputs, tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "roles", "message"),
    [
        (TokenizeConfig(), [], "source=documents needs an input 'documents', got none"),
        (TokenizeConfig(source="builtin"), ["documents"], "source=builtin does not read the input 'documents'"),
        (TokenizeConfig(tokenizer="given"), ["documents"], "tokenizer=given needs an input 'tokenizer'"),
        (TokenizeConfig(), ["documents", "tokenizer"], "tokenizer=train does not read the input 'tokenizer'"),
    ],
)
def test_inputs_that_do_not_fit_the_config_are_refused(
    tmp_path: Path, config: TokenizeConfig, roles: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(config, dict.fromkeys(roles, tmp_path), tmp_path / "out")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_keeps_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {"documents": write_jsonl(tmp_path / "a.jsonl", documents_of(20))}
    monkeypatch.setattr("pgolf.corpus.shard_writer.shard_name", lambda _split, _index: "/dev/full")
    with pytest.raises(OSError, match="No space left"):
        make(TokenizeConfig(vocab_size=330, val_documents=2), inputs, tmp_path / "out")


def test_the_published_tokenizer_and_documents_give_the_published_number_of_tokens(
    tmp_path: Path, real_data: Path
) -> None:
    zstandard = pytest.importorskip("zstandard")
    with zstandard.open(real_data / "fineweb/fineweb_verify_docs.jsonl.zst", "rb") as file:
        (tmp_path / "docs.jsonl").write_bytes(file.read())
    config = TokenizeConfig(tokenizer="given", vocab_size=1024, val_documents=50)
    inputs = {
        "documents": tmp_path / "docs.jsonl",
        "tokenizer": real_data / "tokenizers/fineweb_1024_bpe.model",
    }
    made = make(config, inputs, tmp_path / "out")
    # 628,257 tokens without BOS, 200 documents.
    assert made.facts["tokens_train"] + made.facts["tokens_val"] == 628_257 + 200


def test_the_digest_of_the_validation_text_is_of_its_documents_alone(tmp_path):
    """By its definition; the same under another tokenizer, another order of train documents and other batches."""
    texts = ["ab", "", "a", "b☕", "naïvely", *documents_of(40)]
    by_definition = hashlib.sha256()
    for text in texts[:4]:
        by_definition.update(len(text.encode()).to_bytes(8, "big") + text.encode())
    found = set()
    for number, (vocab_size, train) in enumerate(((300, texts[4:]), (304, texts[:3:-1]))):
        documents = write_jsonl(tmp_path / f"{number}.jsonl", texts[:4] + train)
        config = TokenizeConfig(source="documents", vocab_size=vocab_size, val_split="first", val_documents=4)
        made = make(config, {"documents": documents}, tmp_path / f"out{number}")
        found.add(made.facts["val_text_sha256"])
    assert found == {by_definition.hexdigest()}
    moved = write_jsonl(tmp_path / "moved.jsonl", ["a", "bb☕", *texts[2:]])  # the same characters, cut elsewhere
    made = make(config, {"documents": moved}, tmp_path / "moved")
    assert made.facts["val_text_sha256"] not in found
