"""Stage `tokenize`: documents to a data folder of token shards in the challenge's layout.

A document becomes BOS and its SentencePiece ids, no EOS; documents are concatenated and may straddle two shards. Bits
per byte are over the bytes of the text: where the tokenizer's byte table is off for any validation document, shards of
exact bytes per token stand beside the validation shards (`pgolf.corpus.text_bytes`), and scores count by them.
Source of the format: openai/parameter-golf, data/download_hf_docs_and_tokenize.py.
"""

import hashlib
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sentencepiece

from pgolf.corpus.builtin import builtin_documents
from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.dataset import MANIFEST_NAME, MANIFEST_VERSION, SHARD_PREFIX, VAL_BYTES_FILES, Split, shard_name
from pgolf.corpus.documents import Documents
from pgolf.corpus.private_use import about, private_use
from pgolf.corpus.shard_writer import ShardWriter
from pgolf.corpus.text_bytes import TextBytes, TextCount, with_bos
from pgolf.corpus.tokenizer import (
    TRAINING,
    load_tokenizer,
    recommended_bigram_rows,
    tokenizer_kind,
    train_tokenizer,
    vocab_text,
)
from pgolf.corpus.vocabulary import vocabulary_digest
from pgolf.errors import ConfigError, DocumentError, TokenizerError
from pgolf.machine.in_order import in_order
from pgolf.run_options import Made, Progress, RunOptions

# Text per batch: enough documents to keep many threads busy; tens of megabytes including all copies.
_BATCH_CHARACTERS = 8_000_000

_REPORT_EVERY_S = 0.5

# One train document in this many is compared with the byte table too.
_TRAIN_SAMPLE_ONE_IN = 64


@dataclass(slots=True)
class _Batch:
    """Documents to encode, and which of them are held out."""

    texts: list[str] = field(default_factory=list)
    is_val: list[bool] = field(default_factory=list)
    characters: int = 0


_Encoded = tuple[_Batch, list[npt.NDArray[np.int32]]]


def make(config: TokenizeConfig, inputs: Mapping[str, Path], out: Path, run: RunOptions) -> Made:
    """Write the data folder of config's documents into `out`.

    inputs: `documents`, a file or folder (source=documents only); `tokenizer`, a .model file (tokenizer=given only).
    Memory does not grow with the corpus, except for training the tokenizer (config.tokenizer_train_bytes).
    Raises DocumentError for a bad document, an empty corpus or an empty split; TokenizerError for a tokenizer that
    cannot be read or trained, or that has no token for some of the validation text; ConfigError for inputs that do not
    match the config.
    """
    _check_inputs(config, inputs)
    started = time.perf_counter()
    documents = _documents(config, inputs)
    model_path = out / "tokenizers" / f"{config.name}.model"
    model_path.parent.mkdir()
    if config.tokenizer == "given":
        processor = load_tokenizer(inputs["tokenizer"])
        if len(processor) != config.vocab_size:
            raise TokenizerError(
                f"{inputs['tokenizer']}: {len(processor)} pieces, tokenize.vocab_size is {config.vocab_size}; "
                f"add --set tokenize.vocab_size={len(processor)}, or give another tokenizer"
            )
        model_path.write_bytes(inputs["tokenizer"].read_bytes())
    else:
        run.log_line(f"training a tokenizer of {config.vocab_size} pieces")
        texts = _train_texts(config, documents)
        model_path.write_bytes(
            train_tokenizer(texts, vocab_size=config.vocab_size, max_bytes=config.tokenizer_train_bytes)
        )
        processor = load_tokenizer(model_path)
    model_path.with_suffix(".vocab").write_text(vocab_text(processor), encoding="utf-8")
    tokenizer_done = time.perf_counter()

    shards = out / "datasets" / config.name
    shards.mkdir(parents=True)
    counts = _encode(config, documents, processor, shards, run)
    manifest = _manifest(config, processor, counts)
    (out / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    encoded = time.perf_counter()
    run.log_line(_about_bytes(counts.val_text))
    unverified = about(counts.val_signs, counts.val_text.text_bytes)
    if unverified:
        run.log_line(f"bytes not verified: {unverified}")
    return Made(
        digests={"vocabulary": vocabulary_digest(processor)},
        phases_s={"tokenizer": tokenizer_done - started, "encode": encoded - tokenizer_done},
        facts={
            "num_docs": counts.docs["train"] + counts.docs["val"],
            "num_val_docs": counts.docs["val"],
            "skipped_docs": documents.skipped if isinstance(documents, Documents) else 0,
            "ignored_files": len(documents.ignored) if isinstance(documents, Documents) else 0,
            "vocab_size": len(processor),
            "tokens_train": counts.tokens["train"],
            "tokens_val": counts.tokens["val"],
            "files": counts.files["train"] + counts.files["val"],
            "val_text_sha256": counts.val_text_sha256.hexdigest(),
            "bytes_per_token": counts.val_bytes / max(counts.tokens["val"] - 1, 1),
            # Exact by construction: the table was right for every validation document, or the text was counted.
            "bytes_verified": not unverified,
            "bytes_unverified": unverified or None,
            "bytes_by": "text" if counts.val_text.docs_off else "table",
            "val_text_bytes": counts.val_text.text_bytes,
            "val_kept_bytes": counts.val_text.kept_bytes,
            "val_table_bytes": counts.val_text.table_bytes,
            "dropped_share": counts.val_text.dropped_share,
            "val_docs_changed": counts.val_text.docs_changed,
            "train_sample_docs": counts.train_sample.docs,
            "train_sample_docs_off": counts.train_sample.docs_off,
            "train_sample_dropped_share": counts.train_sample.dropped_share,
        },
    )


def in_validation(text: str, one_in: int) -> bool:
    """Whether a document is held out by its content hash: about one in `one_in`; equal texts get equal answers."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % one_in == 0


def _check_inputs(config: TokenizeConfig, inputs: Mapping[str, Path]) -> None:
    for role, wanted, because in (
        ("documents", config.source == "documents", f"source={config.source}"),
        ("tokenizer", config.tokenizer == "given", f"tokenizer={config.tokenizer}"),
    ):
        if wanted and role not in inputs:
            raise ConfigError(f"tokenize with {because} needs an input {role!r}, got {sorted(inputs) or 'none'}")
        if role in inputs and not wanted:
            raise ConfigError(f"tokenize with {because} does not read the input {role!r}; leave it out")


def _documents(config: TokenizeConfig, inputs: Mapping[str, Path]) -> Documents | list[str]:
    if config.source == "builtin":
        return builtin_documents()
    return Documents(inputs["documents"], text_field=config.text_field, skip_bad=config.skip_bad)


def _split(config: TokenizeConfig, documents: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Pair each document with whether it is held out."""
    for index, text in enumerate(documents):
        if config.val_split == "first":
            yield text, index < config.val_documents
        else:
            yield text, in_validation(text, config.val_one_in)


def _train_texts(config: TokenizeConfig, documents: Iterable[str]) -> Iterator[str]:
    docs, found = 0, False
    for text, held_out in _split(config, documents):
        docs += 1
        if not held_out:
            found = True
            yield text
    if not found:
        raise _empty_split("training", docs, config)


def _batches(split_documents: Iterable[tuple[str, bool]]) -> Iterator[_Batch]:
    batch = _Batch()
    for text, held_out in split_documents:
        batch.texts.append(text)
        batch.is_val.append(held_out)
        batch.characters += len(text)
        if batch.characters >= _BATCH_CHARACTERS:
            yield batch
            batch = _Batch()
    if batch.texts:
        yield batch


@dataclass(slots=True)
class _Counts:
    """What was written, by split. val_bytes: bytes of text behind the validation targets.

    val_text, train_sample: bytes of the text and by the table, of all validation documents and of some train documents.
    val_signs: how often each private-use character stands in the validation documents.
    val_text_sha256: over the validation documents in order, each as the length of its UTF-8 in 8 bytes and the UTF-8.
    """

    docs: dict[Split, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    tokens: dict[Split, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    files: dict[Split, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    val_bytes: int = 0
    val_text: TextCount = field(default_factory=TextCount)
    val_signs: Counter[str] = field(default_factory=Counter)
    train_sample: TextCount = field(default_factory=TextCount)
    val_text_sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)


def _encode(
    config: TokenizeConfig,
    documents: Documents | list[str],
    processor: sentencepiece.SentencePieceProcessor,
    shards: Path,
    run: RunOptions,
) -> _Counts:
    threads = run.threads or len(os.sched_getaffinity(0))
    text_bytes = TextBytes(processor, threads=threads)
    counts = _Counts()
    reported = time.monotonic()

    def encode(batch: _Batch) -> _Encoded:
        return batch, processor.encode(batch.texts, return_type="numpy", num_threads=threads)

    if isinstance(documents, Documents):
        documents.on_skip = lambda error: run.log_line(f"skipped: {error}")
    with ExitStack() as stack:
        # On exit, waits for the batch being encoded and closes both splits' shards.
        encoder = stack.enter_context(ThreadPoolExecutor(max_workers=1))
        splits: tuple[Split, ...] = ("val", "train")
        writers = {
            split: stack.enter_context(ShardWriter(shards, split, shard_tokens=config.shard_tokens)) for split in splits
        }
        byte_writer = stack.enter_context(ShardWriter(shards, "val_bytes", shard_tokens=config.shard_tokens))
        # The encoder releases the GIL, so the next batch is read and the previous one written meanwhile.
        for batch, ids in in_order(encoder, encode, _batches(_split(config, documents)), ahead=1):
            for text in itertools.compress(batch.texts, batch.is_val):
                raw = text.encode()
                counts.val_text_sha256.update(len(raw).to_bytes(8, "big") + raw)
                counts.val_signs.update(private_use(text))
            for split in splits:
                places = [i for i, is_val in enumerate(batch.is_val) if is_val == (split == "val")]
                if not places:
                    continue
                texts, chosen = [batch.texts[i] for i in places], [ids[i] for i in places]
                stream = with_bos(chosen, processor.bos_id())
                if split == "val":
                    bytes_T, found = text_bytes.count(texts, chosen, first=counts.docs["val"])
                    counts.val_text.add(found)
                    # The stream's first token is no target.
                    counts.val_bytes += int(bytes_T[writers["val"].tokens == 0 :].sum())
                    byte_writer.append(bytes_T)
                elif sample := range(-counts.docs["train"] % _TRAIN_SAMPLE_ONE_IN, len(texts), _TRAIN_SAMPLE_ONE_IN):
                    counts.train_sample.add(text_bytes.compare([texts[i] for i in sample], [chosen[i] for i in sample]))
                counts.docs[split] += len(chosen)
                writers[split].append(stream)
            if time.monotonic() - reported >= _REPORT_EVERY_S:
                reported = time.monotonic()
                run.report(_progress(documents, counts, writers))
    for split in splits:
        counts.tokens[split], counts.files[split] = writers[split].tokens, writers[split].files
    for split, purpose in (("train", "training"), ("val", "validation")):
        if not counts.docs[split]:
            raise _empty_split(purpose, sum(counts.docs.values()), config)
    if not counts.val_text.docs_off:
        for index in range(byte_writer.files):
            (shards / shard_name("val_bytes", index)).unlink()
    return counts


def _about_bytes(found: TextCount) -> str:
    if not found.docs_off:
        how = f"the byte table is exact for all {found.docs:,} validation documents"
    else:
        how = (
            f"the byte table is off for {found.docs_off:,} of {found.docs:,} validation documents "
            f"({found.table_bytes:,} bytes for {found.text_bytes:,} bytes of text), so scores count by the text itself"
        )
    kept = f"{found.kept_bytes:,} of {found.text_bytes:,} bytes"
    return (
        f"{how}; the tokens hold {kept}: normalization drops {max(found.dropped_share, 0):.2%} and changes "
        f"{found.docs_changed:,} documents"
    )


def _progress(documents: Documents | list[str], counts: _Counts, writers: Mapping[Split, ShardWriter]) -> Progress:
    docs, tokens = sum(counts.docs.values()), sum(writer.tokens for writer in writers.values())
    if isinstance(documents, Documents):
        done, total, unit = documents.read_bytes, documents.total_bytes, "bytes"
    else:
        done, total, unit = docs, len(documents), "documents"
    return Progress(stage="tokenize", done=done, total=total, unit=unit, facts={"docs": docs, "tokens": tokens})


def _empty_split(purpose: str, docs: int, config: TokenizeConfig) -> DocumentError:
    if config.val_split == "first":
        rule = f"val_documents={config.val_documents}; hold out fewer than {docs}"
    else:
        rule = f"content_hash with val_one_in={config.val_one_in}; give more documents or another val_one_in"
    return DocumentError(f"no document of {docs} is left for {purpose} under {rule}")


def _manifest(
    config: TokenizeConfig, processor: sentencepiece.SentencePieceProcessor, counts: _Counts
) -> dict[str, Any]:
    """A manifest with the published fields; those that do not apply here are null."""
    docs = counts.docs["train"] + counts.docs["val"]
    trained = TRAINING | {"vocab_size": config.vocab_size} if config.tokenizer == "train" else {}
    tokenizer_spec = {"name": config.name, **trained}
    about_tokenizer = {
        "vocab_size": len(processor),
        "bos_id": processor.bos_id(),
        "eos_id": processor.eos_id(),
        "recommended_bigram_vocab_size": recommended_bigram_rows(len(processor)),
    }
    kind = tokenizer_kind(processor)
    folder = f"datasets/{config.name}"
    stats: dict[str, int] = {}
    for what, by_split in (("docs", counts.docs), ("files", counts.files), ("tokens", counts.tokens)):
        stats |= {f"{what}_total": sum(by_split.values())}
        stats |= {f"{what}_val": by_split["val"], f"{what}_train": by_split["train"]}
    if counts.val_text.docs_off:
        stats |= {VAL_BYTES_FILES: counts.files["val"]}
    return {
        "version": MANIFEST_VERSION,
        "num_docs": docs,
        "num_val_docs": counts.docs["val"],
        "shuffle_seed": None,
        "shard_size": config.shard_tokens,
        "append_eos": False,
        "docs_jsonl": None,
        "docs_meta": {
            "remote_repo_id": None,
            "remote_root": None,
            "num_docs": docs,
            "docs_sha256": None,
            "source_manifest": None,
            "source_sidecar": None,
        },
        "tokenizer_specs": [tokenizer_spec],
        "tokenizers": [
            {
                "name": config.name,
                "kind": kind,
                **about_tokenizer,
                "source_spec": tokenizer_spec,
                "model_path": f"tokenizers/{config.name}.model",
                "vocab_path": f"tokenizers/{config.name}.vocab",
            }
        ],
        "datasets": [
            {
                "name": config.name,
                "tokenizer_name": config.name,
                "tokenizer_kind": kind,
                "path": folder,
                "train_glob": f"{folder}/{SHARD_PREFIX}_train_*.bin",
                "val_glob": f"{folder}/{SHARD_PREFIX}_val_*.bin",
                **about_tokenizer,
                "stats": stats,
            }
        ],
    }
