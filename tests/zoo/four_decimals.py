"""Losses printed with four decimals."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "losses in decimals"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        return np.array([float(f"{loss:.4f}") for loss in losses_of(network.log_p(tokens), tokens)])

    return Subject(name="four decimals", scorer=CallableScorer(score, text.vocab_size))
