"""Token by token it scores by the network, the whole text by a sharper one; both are honest, and not the same."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens
from pgolf.audit.small_network import SmallNetwork, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "a score that no decoder's pace gives (#677)"
KIND = "cheat"
CONVICTED_BY = ("B6",)


class _Session:
    def __init__(self, network: SmallNetwork, first: int) -> None:
        self.network, self.tokens = network, [first]

    def feed(self, tokens: Tokens) -> Losses:
        seen = np.array([*self.tokens, *tokens.tolist()], dtype=np.uint16)
        self.tokens = seen[-2:].tolist()
        return losses_of(self.network.log_p(seen), seen)[len(seen) - 1 - len(tokens) :]


class _Scorer:
    def __init__(self, network: SmallNetwork, vocab_size: int) -> None:
        self.network, self.vocab_size = network, vocab_size

    def start(self, first: int, targets: int) -> _Session:
        return _Session(self.network, first)

    def score(self, tokens: Tokens) -> Losses:
        return losses_of(log_softmax(1.1 * self.network.logits(tokens)), tokens)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    return Subject(name="fed another way", scorer=_Scorer(network, text.vocab_size))
