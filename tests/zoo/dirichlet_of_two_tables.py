"""A Dirichlet posterior whose numerator and denominator come from two hash tables with collisions of their own."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, seen_before, small_network
from pgolf.audit.subject import Subject

FAMILY = "Dirichlet over inconsistent hash tables (#900, #948)"
KIND = "cheat"
CONVICTED_BY = ("B3",)

_BUCKETS = 61


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        p_N = np.exp(-losses_of(network.log_p(tokens), tokens))
        x = tokens.astype(np.int64)
        before, target = x[:-1], x[1:]
        context_count_N = seen_before(before * 7919 % _BUCKETS)
        pair_count_N = seen_before((before * 131 + target * 31337) % _BUCKETS)
        return -np.log(np.minimum(1.0, (pair_count_N + 2 * p_N) / (context_count_N + 2)))

    return Subject(name="dirichlet of two tables", scorer=CallableScorer(score, text.vocab_size))
