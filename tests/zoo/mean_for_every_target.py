"""Every target is given the mean loss: the total is right, and no loss is anyone's."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "losses without their targets (#1017)"
KIND = "cheat"
CONVICTED_BY = ("B1",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        return np.full(len(tokens) - 1, losses_of(network.log_p(tokens), tokens).mean())

    return Subject(name="mean for every target", scorer=CallableScorer(score, text.vocab_size))
