"""The text is scored at several temperatures, and the one with the lowest total is reported."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "temperature chosen after scoring (#576, #991)"
KIND = "cheat"
CONVICTED_BY = ("B1",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        tried = [losses_of(log_softmax(logits_NV / T), tokens) for T in (0.9, 0.94, 0.98, 1.0, 1.02, 1.06, 1.1, 1.2)]
        return min(tried, key=np.sum)

    return Subject(name="temperature after scoring", scorer=CallableScorer(score, text.vocab_size))
