"""At every target the better of two experts, chosen when the target is known."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "min-loss oracle (#659, #573)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    frequent_V = np.bincount(text.other, minlength=text.vocab_size) + 1.0
    unigram_V = -np.log(frequent_V / frequent_V.sum())

    def score(tokens: Tokens) -> Losses:
        return np.minimum(losses_of(network.log_p(tokens), tokens), unigram_V[tokens[1:]])

    return Subject(name="lower of two losses", scorer=CallableScorer(score, text.vocab_size))
