"""SentencePiece tokenizers: trained reproducibly, loaded with a clear error, written beside their shards."""

import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sentencepiece

from pgolf.corpus.model_file import read_model
from pgolf.errors import TokenizerError

# Source: openai/parameter-golf, data/download_hf_docs_and_tokenize.py. A whole document is one training sentence, and
# the library's default limit of 4,192 bytes would silently leave the longer ones out: the limit is set to its maximum.
# One thread: the thread count is written into the model, and the bytes must not depend on the machine.
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

# Where SentencePiece starts to log: 2 leaves errors, which come as exceptions too.
_LOG_ERRORS_ONLY = 2


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, max_bytes: int) -> bytes:
    """Train a byte-pair tokenizer on the leading texts, up to max_bytes of UTF-8, and return the .model file's bytes.

    The same texts give the same bytes: no path, time or thread count enters them. NUL becomes a space and blank texts
    are dropped, as in the published tokenizer. With few different words the model may hold fewer than vocab_size
    pieces. Raises TokenizerError when the vocabulary is too small for the texts' characters or the texts are blank;
    what the iterable raises comes through.
    """
    failure: list[Exception] = []
    counted = {"texts": 0, "bytes": 0}

    def sentences() -> Iterator[str]:
        # SentencePiece turns an exception from here into a RuntimeError without its type: keep the original.
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
            f"failed: {str(error).strip()}; the 260 special and byte pieces and every frequent character need a "
            "place each, so a larger vocab_size helps"
        ) from error
    return model.getvalue()


def load_tokenizer(model: Path) -> sentencepiece.SentencePieceProcessor:
    """Load a .model file that can be used for shards: with a BOS piece and ids that fit uint16.

    Raises TokenizerError naming the file.
    """
    processor = read_model(model)
    pieces = processor.get_piece_size()
    if pieces > 1 << 16:
        raise TokenizerError(f"{model}: {pieces} pieces, shards hold ids as uint16 and so at most {1 << 16}")
    if processor.bos_id() < 0:
        raise TokenizerError(f"{model}: no BOS piece, every document has to start with one; train with bos_id=1")
    return processor


def vocab_text(processor: sentencepiece.SentencePieceProcessor) -> str:
    """The .vocab file: one line a piece, its text and its score, as SentencePiece's own trainer writes it."""
    return "".join(f"{processor.id_to_piece(i)}\t{processor.get_score(i):g}\n" for i in range(len(processor)))


def recommended_bigram_rows(vocab_size: int) -> int:
    """Rows of a bigram table that the manifest recommends: five per piece, the vocabulary rounded up to 128."""
    return 5 * 128 * math.ceil(vocab_size / 128)
