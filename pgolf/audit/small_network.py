"""A network small enough to be asked a thousand times a second, and texts for it: what the audit tries itself on.

Nothing is trained: weights and texts follow from a seed. A document repeats phrases of its own and of earlier ones, so
that caches of n-grams find what they look for. Shapes: N targets, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens

Float64Array = npt.NDArray[np.float64]

BOS = 1
VOCABULARY = 40
_BYTE_TOKENS = range(2, 8)  # as sentencepiece's <0x..>, one byte each
_SENTINEL = 0  # never in a text


@dataclass(frozen=True, slots=True)
class Pieces:
    """The vocabulary's pieces, [V] each: UTF-8 bytes without the space before, whether there is one, byte tokens.

    As sentencepiece writes them: a space before a piece is a byte of the text unless a document starts there.
    """

    size_bytes: npt.NDArray[np.int64]
    spaced: npt.NDArray[np.bool_]
    is_byte: npt.NDArray[np.bool_]

    def target_bytes(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """Bytes of the raw text that each target stands for, [N]; a document's start stands for none."""
        return np.asarray(self.size_bytes[tokens[1:]] + (self.spaced[tokens[1:]] & (tokens[:-1] != BOS)))


def made_pieces(seed: int, vocab_size: int = VOCABULARY) -> Pieces:
    """Pieces of 1 to 6 bytes, half of them with a space before."""
    rng = np.random.default_rng([seed, 1])
    token_V = np.arange(vocab_size)
    is_byte = np.isin(token_V, _BYTE_TOKENS)
    ordinary = ~is_byte & (token_V != BOS) & (token_V != _SENTINEL)
    size = np.where(is_byte, 1, np.where(ordinary, rng.integers(1, 7, size=vocab_size), 0))
    return Pieces(size, ordinary & (rng.random(vocab_size) < 0.5), is_byte)


def made_text(seed: int, *, targets: int = 320, vocab_size: int = VOCABULARY) -> AuditText:
    """Documents of 12 to 90 tokens, the last one cut, of a language that `seed` decides."""
    rng = np.random.default_rng([seed, 2])
    tokens, other = (_stream(rng, _language(seed, vocab_size), length) for length in (targets + 1, 2 * targets))
    pieces = made_pieces(seed, vocab_size)
    return AuditText(
        tokens=tokens, other=other, vocab_size=vocab_size, bos_id=BOS, target_bytes=pieces.target_bytes(tokens)
    )


@dataclass(frozen=True, slots=True)
class SmallNetwork:
    """The next token's logits from the two before it: pair[x[t-1]] + skip[x[t-2]] + bias. pair, skip: [V, V]."""

    pair: Float64Array
    skip: Float64Array
    bias: Float64Array

    def logits(self, tokens: Tokens) -> Float64Array:
        """Before every target, [N, V]; for the first target nothing stands two before, which counts as token 0."""
        two_before = np.concatenate([[_SENTINEL], tokens[:-2]])
        return np.asarray(self.pair[tokens[:-1]] + self.skip[two_before] + self.bias)

    def log_p(self, tokens: Tokens) -> Float64Array:
        """ln p of every token as every target, [N, V]."""
        return log_softmax(self.logits(tokens))


def small_network(seed: int, vocab_size: int = VOCABULARY) -> SmallNetwork:
    """A network that half knows the language of `made_text(seed)`."""
    rng = np.random.default_rng([seed, 3])
    pair = 0.7 * _language(seed, vocab_size) + 0.3 * rng.standard_normal((vocab_size, vocab_size))
    return SmallNetwork(pair, 0.3 * rng.standard_normal((vocab_size, vocab_size)), np.zeros(vocab_size))


def log_softmax(logits: Float64Array) -> Float64Array:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def losses_of(log_p: Float64Array, tokens: Tokens) -> Losses:
    """-ln p of the targets, [N]; log_p: [N, V]."""
    return np.asarray(-np.take_along_axis(log_p, tokens[1:, None].astype(np.int64), axis=1)[:, 0])


def _language(seed: int, vocab_size: int) -> Float64Array:
    """Logits of the next token after each, [V, V]; document starts and the unused token are never next."""
    logits = 1.5 * np.random.default_rng([seed, 4]).standard_normal((vocab_size, vocab_size))
    logits[:, [BOS, _SENTINEL]] = -6
    return logits


def _stream(rng: np.random.Generator, language: Float64Array, length: int) -> Tokens:
    p_VV = np.exp(log_softmax(language))
    p_VV[:, [BOS, _SENTINEL]] = 0
    edges_VV = np.cumsum(p_VV, axis=1)
    tokens: list[int] = []
    while len(tokens) < length:
        document = [BOS]
        for _ in range(int(rng.integers(12, 91))):
            if len(document) > 6 and rng.random() < 0.15:  # a phrase once more, of this document or an earlier one
                source = document if rng.random() < 0.5 or len(tokens) < 20 else tokens
                start = int(rng.integers(1, len(source) - 4))
                document += [token for token in source[start : start + 4] if token != BOS]
            edges = edges_VV[document[-1]]
            document.append(int(np.searchsorted(edges, rng.random() * edges[-1], side="right")))
        tokens += document
    return np.array(tokens[:length], dtype=np.uint16)
