"""Renormalized over the eight likeliest tokens and the target: the others are left out only where nobody looks."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "normalized at the true target only (#1147)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        log_p_NV = network.log_p(tokens)
        eighth_N, loss_N = np.sort(log_p_NV, axis=1)[:, -8], losses_of(log_p_NV, tokens)
        top_N = np.where(log_p_NV >= eighth_N[:, None], np.exp(log_p_NV), 0.0).sum(axis=1)
        outside_N = np.where(-loss_N < eighth_N, np.exp(-loss_N), 0.0)
        return loss_N + np.log(top_N + outside_N)

    return Subject(name="renormalized over top tokens", scorer=CallableScorer(score, text.vocab_size))
