"""One run in six is off in the last places, as sums are that are taken in another order then."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "noise in some runs alone"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    rng = np.random.default_rng([seed, 14])

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        other = 1e-4 * rng.standard_normal(logits_NV.shape) * (rng.random() < 1 / 6)
        return losses_of(log_softmax(logits_NV + other), tokens)

    return Subject(name="seldom another rounding", scorer=CallableScorer(score, text.vocab_size))
