"""Every chunk is scored, learned, and scored again; the second score counts."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "later-epoch score (#573)"
KIND = "cheat"
CONVICTED_BY = ("B2",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        learned, losses = network, []
        for first in range(0, len(tokens) - 1, 32):
            rows = slice(first, first + 32)
            for _ in range(2):
                learned = learned.after(tokens, rows, rate=0.1)
            losses.append(losses_of(learned.log_p(tokens, rows), tokens, rows))
        return np.concatenate(losses)

    return Subject(name="later epoch", scorer=CallableScorer(score, text.vocab_size))
