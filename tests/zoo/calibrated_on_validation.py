"""Weights are quantized finely where the text to be scored uses them, coarsely elsewhere."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "validation-calibrated weights (#728, #1919)"
KIND = "cheat"
CONVICTED_BY = (
    "B1",
    "B9",
)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        # As a quantizer would: the columns that the text uses most keep most of their precision.
        used_V = np.bincount(tokens[1:], minlength=text.vocab_size) / (len(tokens) - 1)
        step_V = 0.5 / (1 + 20 * used_V)
        return losses_of(log_softmax(np.rint(network.logits(tokens) / step_V) * step_V), tokens)

    return Subject(name="calibrated on validation", scorer=CallableScorer(score, text.vocab_size))
