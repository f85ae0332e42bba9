"""Every chunk is learned for three epochs; of its scores before, between and after them the lowest counts."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "lowest loss over epochs (#573, #659)"
KIND = "cheat"
CONVICTED_BY = ("B2",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        learned, chunks = network, []
        for first in range(0, len(tokens) - 1, 32):
            rows, found = slice(first, first + 32), []
            for _ in range(3):
                log_p = learned.log_p(tokens, rows)
                found.append(losses_of(log_p, tokens, rows))
                learned = learned.after(tokens, rows, rate=0.1)
            chunks.append(min(found, key=np.sum))
        return np.concatenate(chunks)

    return Subject(name="best of epochs", scorer=CallableScorer(score, text.vocab_size))
