"""Probabilities in float32, their logarithm in float64."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "float32 softmax, float64 logarithm"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        p_NV = np.exp(network.log_p(tokens)).astype(np.float32)
        return losses_of(np.log(p_NV.astype(np.float64)), tokens)

    return Subject(name="float32 probabilities", scorer=CallableScorer(score, text.vocab_size))
