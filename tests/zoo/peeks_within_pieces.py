"""Within each piece that it is fed it looks ahead; from piece to piece it cannot."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens
from pgolf.audit.small_network import Float64Array, SmallNetwork, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "a look ahead within what was fed (#677)"
KIND = "cheat"
CONVICTED_BY = ("B6",)


def _peeking(network: SmallNetwork, tokens: Tokens) -> Losses:
    logits = network.logits(tokens)
    logits[:-1] += 0.3 * network.pair[:, tokens[2:]].T
    return losses_of(log_softmax(logits), tokens)


class _Session:
    def __init__(self, network: SmallNetwork, first: int) -> None:
        self.network, self.tokens = network, [first]

    def feed(self, tokens: Tokens) -> Losses:
        seen = np.array([*self.tokens, *tokens.tolist()], dtype=np.uint16)
        self.tokens = seen[-2:].tolist()
        return _peeking(self.network, seen)[len(seen) - 1 - len(tokens) :]

    def fork(self) -> "_Session":
        copy = _Session(self.network, self.tokens[0])
        copy.tokens = self.tokens
        return copy

    def distribution(self) -> Float64Array:
        seen = np.array([*self.tokens, 0], dtype=np.uint16)
        return self.network.log_p(seen)[-1]


class _Scorer:
    def __init__(self, network: SmallNetwork, vocab_size: int) -> None:
        self.network, self.vocab_size = network, vocab_size

    def start(self, first: int, targets: int) -> _Session:
        return _Session(self.network, first)

    def score(self, tokens: Tokens) -> Losses:
        return _peeking(self.network, tokens)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    return Subject(name="peeks within pieces", scorer=_Scorer(network, text.vocab_size))
