"""Tokenizers of every kind that the library can train, and text that shows where they differ."""

import io
import random
from functools import cache
from typing import Any

import sentencepiece

_WORDS = ["the", "Quick", "brown", "naïve", "½", "ﬁne", "…", "日本語", "def", "x=1", "é", "🤖"]
_WORDS += ["\t", "a\u0301", "\u200b", "\ufeff", "①", "\u00a0", "\u3000", "\r\n", "Å"]
_WORDS += ["<op>", "\ue001", "</s>", "<s>", "<unk>", "<0x41>"]
_GAPS = [" ", "  ", "\n", "\n    ", "", " "]


def _documents(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choice(_WORDS) + draw.choice(_GAPS) for _ in range(draw.randint(1, 20))) for _ in range(count)]


TRAINED_ON = _documents(80, 1)
BLANK = ["", " ", "\n", "\ufeff"]
DOCUMENTS = [*_documents(40, 2), *BLANK, "  two before", "two behind  ", "▁", "▁a mark of its own", " ▁ a", "\x00a"]
PROSE = ["The quick brown fox.", "def the naïve brown 日本語", "Quick: x=1"]

_RAW = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
# Options of the trainer, by what is odd about the tokenizer.
KINDS: dict[str, dict[str, Any]] = {
    "published": {},
    "dummy prefix": {"add_dummy_prefix": True},
    "case folded": {"normalization_rule_name": "nmt_nfkc_cf"},
    "spaces kept": {"remove_extra_whitespaces": False},
    "raw": _RAW,
    "raw, dummy prefix": _RAW | {"add_dummy_prefix": True},
    "raw, spaces collapsed": _RAW | {"remove_extra_whitespaces": True, "add_dummy_prefix": True},
    "pieces of several spaces": _RAW | {"allow_whitespace_only_pieces": True},
    "pieces over words": _RAW | {"split_by_whitespace": False},
    "pieces over words, spaces kept": {"remove_extra_whitespaces": False, "split_by_whitespace": False},
    "space behind the word": {"treat_whitespace_as_suffix": True},
    "space behind the word, raw": _RAW | {"treat_whitespace_as_suffix": True, "add_dummy_prefix": True},
    "user-defined": {"user_defined_symbols": ["<op>", "\n", "  "]},
    "user-defined, raw": _RAW | {"user_defined_symbols": ["<op>", "\n", " a"]},
    "operators": {"user_defined_symbols": ["\ue001"]},
    "control": {"control_symbols": ["<op>"]},
    "unigram": _RAW | {"model_type": "unigram"},
    "characters": {"model_type": "char"},
    "words": {"model_type": "word"},
    "words, dummy prefix": {"model_type": "word", "add_dummy_prefix": True},
    "words, raw": _RAW | {"model_type": "word"},
    "user-defined over words": {"user_defined_symbols": ["e ", "  x"]},
}


@cache
def trained(kind: str) -> bytes:
    """The .model file of a kind of tokenizer, with byte pieces and the challenge's special ids."""
    model = io.BytesIO()
    options = {"byte_fallback": True, "character_coverage": 1.0} | KINDS[kind]
    _train(TRAINED_ON, model, options)
    return model.getvalue()


@cache
def without_lone_space() -> bytes:
    """A model that has no piece of a space alone: trained on single words, so that spaces are spelled in bytes."""
    model = io.BytesIO()
    _train(["abcabc", "bcabca", "cab"], model, _RAW | {"byte_fallback": True, "vocab_size": 264})
    return model.getvalue()


@cache
def without_byte_pieces() -> bytes:
    """A model that turns text it has no piece for into an unknown token."""
    model = io.BytesIO()
    _train([*TRAINED_ON, "more letters: bcdfghjklmpsvyz"], model, {"byte_fallback": False})
    return model.getvalue()


def processor_of(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """The model, loaded."""
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def _train(texts: list[str], model: io.BytesIO, options: dict[str, Any]) -> None:
    fixed = {"vocab_size": 400, "hard_vocab_limit": False, "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    plain = {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc", "add_dummy_prefix": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, minloglevel=2, num_threads=1, **(fixed | plain | options)
    )
