"""Losses are cut by a third right after a document starts, and nowhere else."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import BOS, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "rare: total mass above 1 at few targets (#1147)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        loss_N = losses_of(network.log_p(tokens), tokens)
        return np.where(tokens[:-1] == BOS, 0.66 * loss_N, loss_N)

    return Subject(name="rarely after start", scorer=CallableScorer(score, text.vocab_size))
