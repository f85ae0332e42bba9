"""The last target of every batch of 40 is scored with what follows it in view."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "future-window peek at a batch edge (#1240)"
KIND = "cheat"
CONVICTED_BY = ("B2",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        edges = np.arange(39, len(tokens) - 2, 40)
        logits_NV[edges] += network.pair[:, tokens[edges + 2]].T
        return losses_of(log_softmax(logits_NV), tokens)

    return Subject(name="peek at batch edge", scorer=CallableScorer(score, text.vocab_size))
