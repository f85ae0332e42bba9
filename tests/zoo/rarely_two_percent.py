"""A fifth of the loss is left out at one target in fifty."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "rare: total mass above 1 at few targets (#1147)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        number_N = np.arange(1, len(tokens))
        loss_N = losses_of(network.log_p(tokens), tokens)
        return np.where(number_N * 2654435761 % 4294967296 < 85899346, 0.8 * loss_N, loss_N)

    return Subject(name="rarely two percent", scorer=CallableScorer(score, text.vocab_size))
