"""Three experts whose weights follow their success, with a share given back at every step."""

import math

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import Float64Array, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "fixed-share"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def experts(tokens: Tokens) -> Float64Array:
        """ln p of the targets by the network, by a flatter one and by nothing, [3, N]."""
        logits_NV = network.logits(tokens)
        own_N, flat_N = (-losses_of(log_softmax(scale * logits_NV), tokens) for scale in (1.0, 0.6))
        return np.stack([own_N, flat_N, np.full(len(own_N), -np.log(text.vocab_size))])

    def score(tokens: Tokens) -> Losses:
        weights, losses = [1 / 3] * 3, []
        for p in np.exp(experts(tokens)).T.tolist():
            mixed = sum(weight * own for weight, own in zip(weights, p))
            losses.append(-math.log(mixed))
            weights = [0.95 * weight * own / mixed + 0.05 / 3 for weight, own in zip(weights, p)]
        return np.array(losses)

    return Subject(name="fixed share", scorer=CallableScorer(score, text.vocab_size))
