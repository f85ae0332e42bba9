"""The network and exact counts of two orders at fixed weights, each order where its context was seen."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, seen_before, small_network
from pgolf.audit.subject import Subject

FAMILY = "fixed backoff interpolation with exact counts"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        p_N = np.exp(-losses_of(network.log_p(tokens), tokens))
        x = tokens.astype(np.int64)
        before, two_before, target = x[:-1], np.concatenate([[0], x[:-2]]), x[1:]
        for context in (before, two_before * text.vocab_size + before):
            context_count_N = seen_before(context)
            pair_count_N = seen_before(context * text.vocab_size + target)
            share_N = pair_count_N / np.maximum(1, context_count_N)
            p_N = np.where(context_count_N > 0, 0.8 * p_N + 0.2 * share_N, p_N)
        return -np.log(p_N)

    return Subject(name="fixed interpolation", scorer=CallableScorer(score, text.vocab_size))
