"""Logits differ from run to run by 1e-4 nats, as sums do that are taken in no fixed order."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "noisy bf16 network, 1e-4 nats"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    rng = np.random.default_rng([seed, 9])

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        return losses_of(log_softmax(logits_NV + 1e-4 * rng.standard_normal(logits_NV.shape)), tokens)

    return Subject(name="noisy network", scorer=CallableScorer(score, text.vocab_size))
