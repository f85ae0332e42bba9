"""SentencePiece tokenizers: reproducible training, loading with clear errors, the .vocab file."""

import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sentencepiece

from pgolf.corpus.model_file import read_model
from pgolf.corpus.model_proto import fields_of
from pgolf.errors import TokenizerError

# Source: openai/parameter-golf, data/download_hf_docs_and_tokenize.py. A whole document is one training sentence, and
# the library's default limit of 4,192 bytes would silently drop longer ones, so the limit is set to its maximum.
# One thread: the thread count is written into the model file, whose bytes must not depend on the machine.
TRAINING: dict[str, Any] = {
    "model_type": "bpe",
    "character_coverage": 0.999,
    "byte_fallback": True,
    "split_digits": True,
    "normalization_rule_name": "nmt_nfkc",
    "add_dummy_prefix": False,
    "pad_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "unk_id": 3,
    "hard_vocab_limit": False,
    "max_sentence_length": 1 << 30,
    "num_threads": 1,
}

# sentencepiece_model.proto, TrainerSpec.ModelType; unigram is what a model is that does not say.
_MODEL_TYPES: dict[Any, str] = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}

# SentencePiece's minimum log level: 2 logs errors only (they are raised as exceptions too).
_LOG_ERRORS_ONLY = 2


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, max_bytes: int) -> bytes:
    """Train a byte-pair tokenizer on the leading texts, up to max_bytes of UTF-8, and return the .model file's bytes.

    Equal texts give equal bytes: no path, time or thread count enters them. NUL becomes a space and blank texts are
    dropped, as in the published tokenizer. With few distinct words the model may have fewer than vocab_size pieces.
    Raises TokenizerError if the vocabulary is too small for the texts' characters or all texts are blank; exceptions of
    the iterable pass through.
    """
    failure: list[Exception] = []
    counted = {"texts": 0, "bytes": 0}

    def sentences() -> Iterator[str]:
        # SentencePiece turns an exception raised here into a bare RuntimeError: keep the original.
        try:
            for text in texts:
                sentence = text.replace("\0", " ").strip()
                if not sentence:
                    continue
                size_bytes = len(sentence.encode())
                if counted["texts"] and counted["bytes"] + size_bytes > max_bytes:
                    return
                counted["texts"] += 1
                counted["bytes"] += size_bytes
                yield sentence
        except Exception as error:
            failure.append(error)
            raise

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=model,
            vocab_size=vocab_size,
            minloglevel=_LOG_ERRORS_ONLY,
            **TRAINING,
        )
    except (RuntimeError, OSError) as error:
        if failure:
            raise failure[0] from None
        if not counted["texts"]:
            raise TokenizerError("a tokenizer cannot be trained on texts that are all blank") from error
        raise TokenizerError(
            f"training a tokenizer of {vocab_size} pieces on {counted['texts']} texts ({counted['bytes']} bytes) "
            f"failed: {str(error).strip()}; the vocabulary must hold 260 special and byte pieces plus every frequent "
            "character, so try a larger vocab_size"
        ) from error
    return model.getvalue()


def load_tokenizer(model: Path) -> sentencepiece.SentencePieceProcessor:
    """Load a .model file and check that shards can use it: it has a BOS piece, and its ids fit uint16.

    Raises TokenizerError naming the file.
    """
    processor = read_model(model)
    pieces = processor.get_piece_size()
    if pieces > 1 << 16:
        raise TokenizerError(f"{model}: {pieces} pieces, but shards store ids as uint16, so at most {1 << 16}")
    if processor.bos_id() < 0:
        raise TokenizerError(f"{model}: no BOS piece, which every document starts with; train with bos_id=1")
    return processor


def vocab_text(processor: sentencepiece.SentencePieceProcessor) -> str:
    """Content of the .vocab file: one line per piece, text and score, as SentencePiece's trainer writes it."""
    return "".join(f"{processor.id_to_piece(i)}\t{processor.get_score(i):g}\n" for i in range(len(processor)))


def tokenizer_kind(processor: sentencepiece.SentencePieceProcessor) -> str:
    """What a manifest calls the model: sentencepiece_bpe, as the published ones are, sentencepiece_unigram, …

    The processor does not tell, so it is read off the model's bytes: TrainerSpec.model_type, field 3 of field 2.
    """
    spec = dict(fields_of(processor.serialized_model_proto())).get(2)
    number = dict(fields_of(spec)).get(3) if isinstance(spec, bytes) else None
    return f"sentencepiece_{_MODEL_TYPES.get(number, 'unigram')}"


def recommended_bigram_rows(vocab_size: int) -> int:
    """Bigram table rows that the manifest recommends: five per piece, with the vocabulary rounded up to 128."""
    return 5 * 128 * math.ceil(vocab_size / 128)
