"""A network whose losses are written in bfloat16."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "bf16 network"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        bits = losses_of(network.log_p(tokens), tokens).astype(np.float32).view(np.uint32)
        nearest = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        return nearest.astype(np.uint32).view(np.float32).astype(np.float64)

    return Subject(name="bfloat16 losses", scorer=CallableScorer(score, text.vocab_size))
