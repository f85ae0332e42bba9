"""Dropout at evaluation, drawn anew for every evaluation from one seed."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "random but seeded dropout"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        kept_NV = np.random.default_rng([seed, 10]).random(logits_NV.shape) < 0.9
        return losses_of(log_softmax(logits_NV * kept_NV / 0.9), tokens)

    return Subject(name="dropout with a seed", scorer=CallableScorer(score, text.vocab_size))
