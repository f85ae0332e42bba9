"""Dropout at evaluation, another one in every run: no run is like another, and none knows the text."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "dropout without a seed"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    rng = np.random.default_rng([seed, 12])

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        return losses_of(log_softmax(logits_NV * (rng.random(logits_NV.shape) < 0.9) / 0.9), tokens)

    return Subject(name="dropout without a seed", scorer=CallableScorer(score, text.vocab_size))
