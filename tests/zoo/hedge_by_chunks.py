"""Hedge over normalized experts; weights move after each chunk of 32 targets."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import Float64Array, log_softmax, losses_of, small_network
from pgolf.audit.subject import Declared, Subject

FAMILY = "chunk-causal Hedge without the entropy expert"
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
        weight_E, losses = np.zeros(3), []
        for first in range(0, len(tokens) - 1, 32):
            chunk_EN = log_p_EN[:, first : first + 32]
            share_E1 = (weight_E - np.logaddexp.reduce(weight_E))[:, None]
            losses.append(-np.logaddexp.reduce(share_E1 + chunk_EN, axis=0))
            weight_E = weight_E + 0.1 * chunk_EN.sum(axis=1)
        return np.concatenate(losses)

    return Subject(
        name="hedge by chunks",
        scorer=CallableScorer(score, text.vocab_size),
        declared=Declared(chunk_targets=32),
    )
