"""A network whose logits are rounded to bfloat16 before a softmax in float64."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "bf16 network, logits rounded"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        bits = network.logits(tokens).astype(np.float32).view(np.uint32)
        nearest = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
        return losses_of(log_softmax(nearest.astype(np.float64)), tokens)

    return Subject(name="bfloat16 logits", scorer=CallableScorer(score, text.vocab_size))
