"""Every run has a temperature of its own, near 1: its losses are all off together."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "noise that a run's targets share"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    rng = np.random.default_rng([seed, 13])

    def score(tokens: Tokens) -> Losses:
        return losses_of(log_softmax(network.logits(tokens) * (1 + 0.01 * rng.standard_normal())), tokens)

    return Subject(name="one noise per run", scorer=CallableScorer(score, text.vocab_size))
