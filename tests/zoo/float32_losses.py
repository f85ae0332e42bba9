"""A network in float32."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "float32 losses"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens).astype(np.float32)
        return losses_of(log_softmax(logits_NV), tokens)

    return Subject(name="float32 losses", scorer=CallableScorer(score, text.vocab_size))
