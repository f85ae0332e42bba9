"""The one target in a hundred that costs most is given the mean instead."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "targets left out (#1854, #2039)"
KIND = "cheat"
CONVICTED_BY = ("B1",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        loss_N = losses_of(network.log_p(tokens), tokens)
        return np.where(loss_N >= np.quantile(loss_N, 0.99), loss_N.mean(), loss_N)

    return Subject(name="hardest left out", scorer=CallableScorer(score, text.vocab_size))
