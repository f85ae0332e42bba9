"""A Hedge mixture whose third expert gives every token the same exp(-H) of the network, whatever the token."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "entropy expert (#745, #688)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        log_p_NV = network.log_p(tokens)
        entropy_N = -(np.exp(log_p_NV) * log_p_NV).sum(axis=1)
        flat_N = np.log(0.7 * np.exp(-losses_of(log_p_NV, tokens)) + 0.3 / text.vocab_size)
        experts_EN = np.stack([-losses_of(log_p_NV, tokens), flat_N, -entropy_N])
        before_EN = np.concatenate([np.zeros((3, 1)), np.cumsum(experts_EN, axis=1)[:, :-1]], axis=1)
        log_weight_EN = 0.1 * before_EN
        log_weight_EN -= np.logaddexp.reduce(log_weight_EN, axis=0)
        return -np.logaddexp.reduce(log_weight_EN + experts_EN, axis=0)

    return Subject(name="entropy expert", scorer=CallableScorer(score, text.vocab_size))
