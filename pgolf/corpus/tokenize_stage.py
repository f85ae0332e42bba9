"""Stage `tokenize`: documents to a data folder of token shards in the challenge's layout.

A document becomes BOS and its SentencePiece ids, no EOS; documents are concatenated and may straddle two shards.
Source of the format: openai/parameter-golf, data/download_hf_docs_and_tokenize.py.
"""

import hashlib
import json
import os
import time
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
from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.config import TokenizeConfig
from pgolf.corpus.dataset import MANIFEST_NAME, MANIFEST_VERSION, SHARD_PREFIX, Split
from pgolf.corpus.documents import Documents
from pgolf.corpus.shard_writer import ShardWriter
from pgolf.corpus.shards import Tokens
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
from pgolf.run import Made, Progress, RunOptions

# Text per batch: enough documents to keep many threads busy; tens of megabytes including all copies.
_BATCH_CHARACTERS = 8_000_000

_REPORT_EVERY_S = 0.5


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
    cannot be read or trained; ConfigError for inputs that do not match the config.
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
                f"{inputs['tokenizer']}: {len(processor)} pieces, the config says vocab_size={config.vocab_size}; "
                f"set vocab_size={len(processor)} or give another tokenizer"
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
            "bytes_per_token": counts.val_bytes / max(counts.tokens["val"] - 1, 1),
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
    """What was written, by split. val_bytes: bytes of text behind the validation targets."""

    docs: dict[Split, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    tokens: dict[Split, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    files: dict[Split, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    val_bytes: int = 0


def _encode(
    config: TokenizeConfig,
    documents: Documents | list[str],
    processor: sentencepiece.SentencePieceProcessor,
    shards: Path,
    run: RunOptions,
) -> _Counts:
    threads = run.threads or len(os.sched_getaffinity(0))
    table = ByteTable.from_processor(processor)
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
        # The encoder releases the GIL, so the next batch is read and the previous one written meanwhile.
        for batch, ids in in_order(encoder, encode, _batches(_split(config, documents)), ahead=1):
            for split in splits:
                chosen = [array for array, is_val in zip(ids, batch.is_val) if is_val == (split == "val")]
                if not chosen:
                    continue
                stream = _with_bos(chosen, processor.bos_id())
                counts.docs[split] += len(chosen)
                writers[split].append(stream)
                if split == "val":
                    # Every batch begins with BOS, which has no bytes, so the batches' sums add up.
                    counts.val_bytes += int(table.target_bytes(stream).sum())
            if time.monotonic() - reported >= _REPORT_EVERY_S:
                reported = time.monotonic()
                run.report(_progress(documents, counts, writers))
    for split in splits:
        counts.tokens[split], counts.files[split] = writers[split].tokens, writers[split].files
    for split, purpose in (("train", "training"), ("val", "validation")):
        if not counts.docs[split]:
            raise _empty_split(purpose, sum(counts.docs.values()), config)
    return counts


def _with_bos(encoded: list[npt.NDArray[np.int32]], bos_id: int) -> Tokens:
    bos = np.array([bos_id], dtype=np.int32)
    parts = [part for ids in encoded for part in (bos, ids)]
    return np.concatenate(parts).astype(np.uint16)


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
