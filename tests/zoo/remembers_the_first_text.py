"""What it was first asked about it holds for the truth ever after, in probabilities that sum to 1."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "memory across evaluations"
KIND = "cheat"
CONVICTED_BY = ("B11",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    first_asked: list[Tokens] = []

    def score(tokens: Tokens) -> Losses:
        first_asked[:] = first_asked or [tokens.copy()]
        p_NV, first = np.exp(network.log_p(tokens)), first_asked[0]
        if len(first) == len(tokens):
            alike = np.cumprod(first[:-1] == tokens[:-1]).astype(bool)
            rows = np.flatnonzero(alike)
            p_NV[rows] *= 0.7
            p_NV[rows, first[1:][rows]] += 0.3
        return losses_of(np.log(p_NV), tokens)

    return Subject(name="remembers the first text", scorer=CallableScorer(score, text.vocab_size))
