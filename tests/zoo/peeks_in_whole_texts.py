"""Fed token by token it is the network; given a whole text it looks one token ahead."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens
from pgolf.audit.small_network import Float64Array, SmallNetwork, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "a look ahead that a feed does not have (#677)"
KIND = "cheat"
CONVICTED_BY = ("B6",)


class _Session:
    def __init__(self, network: SmallNetwork, first: int) -> None:
        self.network, self.tokens = network, [first]

    def feed(self, tokens: Tokens) -> Losses:
        seen = np.array([*self.tokens, *tokens.tolist()], dtype=np.uint16)
        self.tokens = seen[-2:].tolist()
        return losses_of(self.network.log_p(seen), seen)[len(seen) - 1 - len(tokens) :]

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
        logits = self.network.logits(tokens)
        logits[:-1] += 0.3 * self.network.pair[:, tokens[2:]].T
        return losses_of(log_softmax(logits), tokens)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    return Subject(name="peeks in whole texts", scorer=_Scorer(network, text.vocab_size))
