"""It tells the network's distribution and scores by it, but for one target in forty, where it scores by another."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens
from pgolf.audit.small_network import Float64Array, SmallNetwork, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "a distribution that is not scored by, rarely (#659)"
KIND = "cheat"
CONVICTED_BY = ("B5",)


def _scored(network: SmallNetwork, tokens: Tokens, before: int) -> Losses:
    sharper = np.where((before + np.arange(len(tokens) - 1)) % 40 == 17, 1.2, 1.0)
    return losses_of(log_softmax(sharper[:, None] * network.logits(tokens)), tokens)


class _Session:
    def __init__(self, network: SmallNetwork, first: int) -> None:
        self.network, self.tokens, self.fed = network, [first], 0

    def feed(self, tokens: Tokens) -> Losses:
        seen = np.array([*self.tokens, *tokens.tolist()], dtype=np.uint16)
        self.tokens = seen[-2:].tolist()
        self.fed += len(tokens)
        return _scored(self.network, seen, self.fed - len(seen) + 1)[len(seen) - 1 - len(tokens) :]

    def fork(self) -> "_Session":
        copy = _Session(self.network, self.tokens[0])
        copy.tokens, copy.fed = self.tokens, self.fed
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
        return _scored(self.network, tokens, 0)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    return Subject(name="rarely tells another distribution", scorer=_Scorer(network, text.vocab_size))
