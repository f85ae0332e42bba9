"""N-gram counts looked up by a hash of context and target, blended at a fixed weight."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
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
        context_count, full_count = np.zeros(_BUCKETS), np.zeros(_BUCKETS)
        for target in range(2, len(tokens)):
            context = (int(tokens[target - 2]) * 36313 ^ int(tokens[target - 1]) * 27191) % _BUCKETS
            full = (context ^ int(tokens[target]) * 51647) % _BUCKETS
            if context_count[context] >= 2:
                share = min(full_count[full], context_count[context]) / context_count[context]
                p_N[target - 1] = 0.6 * p_N[target - 1] + 0.4 * share
            context_count[context] += 1
            full_count[full] += 1
        return -np.log(p_N)

    return Subject(name="hashed target key", scorer=CallableScorer(score, text.vocab_size))
