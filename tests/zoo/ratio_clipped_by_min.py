"""Backoff over hash tables of context and target, the ratio clipped by min(full, context), the weight by confidence."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, seen_before, small_network
from pgolf.audit.subject import Subject

FAMILY = "ratio clipped by min(full, ctx) (#715)"
KIND = "cheat"
CONVICTED_BY = ("B3",)

_BUCKETS, _PRIMES = 128, (36313, 27191, 51647, 81929)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        network_N, x = np.exp(-losses_of(network.log_p(tokens), tokens)), tokens.astype(np.int64)
        key_N, mixed_N = np.zeros(len(x) - 1, dtype=np.int64), network_N
        for back, prime in enumerate(_PRIMES[:3]):
            key_N = key_N + prime * np.concatenate([np.zeros(back, np.int64), x[: -1 - back]])
            context_count_N = seen_before(key_N % _BUCKETS)
            full_count_N = seen_before((key_N ^ x[1:] * _PRIMES[3]) % _BUCKETS)
            ratio_N = np.minimum(full_count_N, context_count_N) / np.maximum(1, context_count_N)
            weight_N = context_count_N / (context_count_N + 4)
            mixed_N = np.where(context_count_N >= 2, (1 - weight_N) * network_N + weight_N * ratio_N, mixed_N)
        return -np.log(mixed_N)

    return Subject(name="ratio clipped by min", scorer=CallableScorer(score, text.vocab_size))
