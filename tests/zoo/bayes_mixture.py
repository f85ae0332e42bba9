"""Three experts weighted by how well they have predicted so far."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import Float64Array, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "Bayes mixture"
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
        log_p_EN = experts(tokens)
        weight_EN = np.concatenate([np.zeros((3, 1)), np.cumsum(log_p_EN, axis=1)[:, :-1]], axis=1)
        weight_EN -= np.logaddexp.reduce(weight_EN, axis=0)
        return -np.logaddexp.reduce(weight_EN + log_p_EN, axis=0)

    return Subject(name="bayes mixture", scorer=CallableScorer(score, text.vocab_size))
