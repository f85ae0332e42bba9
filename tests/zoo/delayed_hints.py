"""A tilt towards hints that are taken in only sixteen targets after they stood there."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import last_before, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "delayed hints (#511)"
KIND = "honest"

_BOOST = 1.5


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        log_p_NV, x = network.log_p(tokens), tokens.astype(np.int64)
        last_N = last_before(x[:-1], delay=16)
        hint_N, hinted_N = x[1:][last_N], last_N >= 0
        p_hint_N = np.exp(log_p_NV[np.arange(len(hint_N)), hint_N])
        tilted_N = np.log1p(p_hint_N * (np.exp(_BOOST) - 1)) - _BOOST * (hint_N == x[1:])
        return losses_of(log_p_NV, tokens) + np.where(hinted_N, tilted_N, 0.0)

    return Subject(name="delayed hints", scorer=CallableScorer(score, text.vocab_size))
