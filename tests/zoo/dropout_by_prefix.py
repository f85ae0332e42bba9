"""Dropout drawn from a seed that the tokens before decide."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "dropout seeded by the prefix"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        history_N = np.cumsum(tokens[:-1].astype(np.int64) * (2 * np.arange(len(tokens) - 1) + 1))
        mixed_NV = (history_N[:, None] * 2654435761 + np.arange(text.vocab_size) * 40503) % 65536
        return losses_of(log_softmax(np.where(mixed_NV < 6554, 0.0, logits_NV)), tokens)

    return Subject(name="dropout by prefix", scorer=CallableScorer(score, text.vocab_size))
