"""The right losses in bits, handed over as nats."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "losses in another unit (#1698)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        return losses_of(network.log_p(tokens), tokens) / np.log(2)

    return Subject(name="other base", scorer=CallableScorer(score, text.vocab_size))
