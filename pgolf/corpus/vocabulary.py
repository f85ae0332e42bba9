"""What a manifest repeats of its tokenizer, and stages read there; checked where data come in."""

import hashlib
from collections.abc import Mapping
from typing import Any

import sentencepiece

from pgolf.errors import TokenizerError


def vocabulary(processor: sentencepiece.SentencePieceProcessor) -> dict[str, int]:
    """The fields of a manifest that follow from the tokenizer's model file."""
    return {"vocab_size": len(processor), "bos_id": processor.bos_id()}


def vocabulary_digest(processor: sentencepiece.SentencePieceProcessor) -> str:
    """Identity of the vocabulary's size and document start: all that training needs to know of a tokenizer."""
    return hashlib.sha256(repr(sorted(vocabulary(processor).items())).encode()).hexdigest()


def check_vocabulary(processor: sentencepiece.SentencePieceProcessor, entry: Mapping[str, Any], where: str) -> None:
    """Raise TokenizerError unless an entry of a manifest says of the tokenizer what its model file says."""
    for name, value in vocabulary(processor).items():
        if entry.get(name, value) != value:
            raise TokenizerError(
                f"{where}: says {name} is {entry[name]!r}, its tokenizer's model file says {value}; the tokens belong "
                "to another tokenizer, or the manifest is wrong"
            )
