"""N-gram counts looked up by a hash of context and target, blended at a fixed weight."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, seen_before, small_network
from pgolf.audit.subject import Subject

FAMILY = "hashed target key (#715, #761, #792, #779)"
KIND = "cheat"
CONVICTED_BY = ("B3",)

_BUCKETS = 64


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        p_N = np.exp(-losses_of(network.log_p(tokens), tokens))
        x = tokens.astype(np.int64)
        context_N = (np.concatenate([[0], x[:-2]]) * 36313 ^ x[:-1] * 27191) % _BUCKETS
        context_count_N, full_count_N = seen_before(context_N), seen_before((context_N ^ x[1:] * 51647) % _BUCKETS)
        share_N = np.minimum(1.0, full_count_N / np.maximum(1, context_count_N))
        return -np.log(np.where(context_count_N >= 2, 0.6 * p_N + 0.4 * share_N, p_N))

    return Subject(name="hashed target key", scorer=CallableScorer(score, text.vocab_size))
