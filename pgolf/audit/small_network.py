"""A network small enough to be asked a thousand times a second, and texts for it: what the audit tries itself on.

Nothing is trained: weights and texts follow from a seed. A document repeats phrases of its own and of earlier ones, so
that caches of n-grams find what they look for. Shapes: N targets, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

BOS = 1
VOCABULARY, TARGETS = 24, 256  # so few that every token can be tried at every target
ALL = slice(None)
_BYTE_TOKENS = range(2, 8)  # as sentencepiece's <0x..>, one byte each
_SENTINEL = 0  # never in a text


@dataclass(frozen=True, slots=True)
class Pieces:
    """The vocabulary's pieces, [V] each: UTF-8 bytes without the space before, whether there is one, byte tokens.

    As sentencepiece writes them: a space before a piece is a byte of the text unless a document starts there.
    """

    size_bytes: Int64Array
    spaced: npt.NDArray[np.bool_]
    is_byte: npt.NDArray[np.bool_]

    def target_bytes(self, tokens: Tokens) -> Int64Array:
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


def made_text(seed: int, *, targets: int = TARGETS, vocab_size: int = VOCABULARY) -> AuditText:
    """Documents of 8 to 50 tokens, the last one cut, of a language that `seed` decides."""
    rng, pieces = np.random.default_rng([seed, 2]), made_pieces(seed, vocab_size)
    # As sentencepiece has it, a document's first piece has a space before it, which the text has not.
    firsts, language = np.flatnonzero(pieces.spaced), _language(seed, vocab_size)
    tokens, other = (_stream(rng, language, firsts, length) for length in (targets + 1, 2 * targets))
    return AuditText(
        tokens=tokens, other=other, vocab_size=vocab_size, bos_id=BOS, target_bytes=pieces.target_bytes(tokens)
    )


@dataclass(frozen=True, slots=True)
class SmallNetwork:
    """The next token's logits from the two before it: pair[x[t-1]] + skip[x[t-2]] + bias. pair, skip: [V, V]."""

    pair: Float64Array
    skip: Float64Array
    bias: Float64Array

    def logits(self, tokens: Tokens, rows: slice = ALL) -> Float64Array:
        """Before every target, [N, V]; for the first target nothing stands two before, which counts as token 0.

        rows: these targets alone, from 0.
        """
        two_before = np.concatenate([[_SENTINEL], tokens[:-2]])
        return np.asarray(self.pair[tokens[:-1][rows]] + self.skip[two_before[rows]] + self.bias)

    def log_p(self, tokens: Tokens, rows: slice = ALL) -> Float64Array:
        """ln p of every token as every target, [N, V], or as these targets."""
        return log_softmax(self.logits(tokens, rows))

    def after(self, tokens: Tokens, rows: slice = ALL, *, rate: float) -> "SmallNetwork":
        """The network after a step of gradient descent on the summed loss of these targets."""
        two_before, each = np.concatenate([[_SENTINEL], tokens[:-2]]), np.eye(len(self.bias))
        gradient = rate * (np.exp(self.log_p(tokens, rows)) - each[tokens[1:][rows]])
        return SmallNetwork(
            self.pair - each[tokens[:-1][rows]].T @ gradient,
            self.skip - each[two_before[rows]].T @ gradient,
            self.bias - gradient.sum(axis=0),
        )


class NetworkSession:
    """The network fed piece by piece, which can be copied and tells the next distribution.

    losses: what it says of every target of some tokens; `feed` answers with those of the new ones.
    """

    def __init__(self, network: SmallNetwork, first: int, losses: Callable[[Tokens], Losses]) -> None:
        self.network, self.losses, self.tokens = network, losses, [first]

    def feed(self, tokens: Tokens) -> Losses:
        """As `pgolf.audit.scorer.Session`."""
        seen = np.array([*self.tokens, *tokens.tolist()], dtype=np.uint16)
        self.tokens = seen[-2:].tolist()
        return self.losses(seen)[len(seen) - 1 - len(tokens) :]

    def fork(self) -> "NetworkSession":
        """As `pgolf.audit.scorer.Forkable`."""
        copy = NetworkSession(self.network, self.tokens[0], self.losses)
        copy.tokens = self.tokens
        return copy

    def distribution(self) -> Float64Array:
        """As `pgolf.audit.scorer.Distributed`: the network's, whatever `losses` says."""
        seen = np.array([*self.tokens, 0], dtype=np.uint16)
        return np.asarray(self.network.log_p(seen)[-1])


@dataclass(frozen=True, slots=True)
class SessionScorer:
    """A network with sessions. fed, whole: its losses of what it is fed, and of a whole text."""

    network: SmallNetwork
    vocab_size: int
    fed: Callable[[Tokens], Losses]
    whole: Callable[[Tokens], Losses]

    def start(self, first: int, targets: int) -> NetworkSession:
        """As `pgolf.audit.scorer.Feedable`."""
        return NetworkSession(self.network, first, self.fed)

    def score(self, tokens: Tokens) -> Losses:
        """As `pgolf.audit.scorer.Scorer`."""
        return self.whole(tokens)


def small_network(seed: int, vocab_size: int = VOCABULARY) -> SmallNetwork:
    """A network that half knows the language of `made_text(seed)`."""
    rng = np.random.default_rng([seed, 3])
    pair = 0.7 * _language(seed, vocab_size) + 0.3 * rng.standard_normal((vocab_size, vocab_size))
    return SmallNetwork(pair, 0.3 * rng.standard_normal((vocab_size, vocab_size)), np.zeros(vocab_size))


def log_softmax(logits: Float64Array) -> Float64Array:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def losses_of(log_p: Float64Array, tokens: Tokens, rows: slice = ALL) -> Losses:
    """-ln p of the targets, [N], or of these; log_p: as many rows, [V] each."""
    targets = tokens[1:][rows].astype(np.int64)
    return np.asarray(-log_p[np.arange(len(targets)), targets])


def seen_before(keys: Int64Array) -> Int64Array:
    """How often each key has stood at an earlier place, [N]: exact counts, as they grow with the text."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys.min() - 1))
    seen = np.empty(len(keys), dtype=np.int64)
    seen[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(starts, append=len(keys)))
    return seen


def last_before(keys: Int64Array, delay: int = 1) -> Int64Array:
    """The last place, `delay` earlier or more, at which each key stood, [N]; -1 where there is none."""
    N, place = len(keys), np.arange(len(keys))
    known = np.sort(keys * N + place)
    found = known[np.maximum(0, np.searchsorted(known, keys * N + place - delay, side="right") - 1)]
    return np.where((found // N == keys) & (found % N <= place - delay), found % N, -1)


def _language(seed: int, vocab_size: int) -> Float64Array:
    """Logits of the next token after each, [V, V]; document starts and the unused token are never next."""
    logits = 1.5 * np.random.default_rng([seed, 4]).standard_normal((vocab_size, vocab_size))
    logits[:, [BOS, _SENTINEL]] = -6
    return logits


def _stream(rng: np.random.Generator, language: Float64Array, firsts: Int64Array, length: int) -> Tokens:
    p_VV = np.exp(log_softmax(language))
    p_VV[:, [BOS, _SENTINEL]] = 0
    edges_VV = np.cumsum(p_VV, axis=1)
    tokens: list[int] = []
    while len(tokens) < length:
        document = [BOS, int(rng.choice(firsts))]
        for _ in range(int(rng.integers(7, 40))):
            if len(document) > 6 and rng.random() < 0.15:  # a phrase once more, of this document or an earlier one
                source = document if rng.random() < 0.5 or len(tokens) < 20 else tokens
                start = int(rng.integers(1, len(source) - 4))
                document += [token for token in source[start : start + 4] if token != BOS]
            edges = edges_VV[document[-1]]
            document.append(int(np.searchsorted(edges, rng.random() * edges[-1], side="right")))
        tokens += document
    return np.array(tokens[:length], dtype=np.uint16)
