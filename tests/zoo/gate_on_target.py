"""Two experts, each normalized, and a weight that depends on whether the target begins a word."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, made_pieces, seen_before, small_network
from pgolf.audit.subject import Subject

FAMILY = "gate on the target (#1145, #1420, #1967, #2050)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    begins_word_V = made_pieces(seed, text.vocab_size).spaced

    def score(tokens: Tokens) -> Losses:
        p_N = np.exp(-losses_of(network.log_p(tokens), tokens))
        x = tokens.astype(np.int64)
        before, target = x[:-1], x[1:]
        pair_count_N = seen_before(before * text.vocab_size + target)
        expert_N = (pair_count_N + 0.05) / (seen_before(before) + 0.05 * text.vocab_size)
        weight_N = np.where(begins_word_V[target], 0.05, 0.4)
        return -np.log((1 - weight_N) * p_N + weight_N * expert_N)

    return Subject(name="gate on target", scorer=CallableScorer(score, text.vocab_size))
