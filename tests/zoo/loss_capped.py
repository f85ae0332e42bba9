"""No loss above eight nats: a token that the network finds impossible is cheap all the same."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "a cap on the loss (#886)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        return np.minimum(losses_of(network.log_p(tokens), tokens), 6.0)

    return Subject(name="loss capped", scorer=CallableScorer(score, text.vocab_size))
