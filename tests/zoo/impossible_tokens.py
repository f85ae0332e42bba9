"""Tokens that no text has get the probability 0, so that one who tries them is given an infinite loss."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "tokens with probability 0"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        logits_NV[:, 0] = -np.inf
        with np.errstate(divide="ignore"):
            return losses_of(log_softmax(logits_NV), tokens)

    return Subject(name="impossible tokens", scorer=CallableScorer(score, text.vocab_size))
