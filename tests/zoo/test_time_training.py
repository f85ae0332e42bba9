"""A chunk is scored, then learned for two epochs, then the next one is scored."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Declared, Subject

FAMILY = "causal test-time training (#549)"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        learned, losses, count = network, [], len(tokens) - 1
        for first in range(0, count, 48):
            rows = slice(first, first + 48)
            log_p = learned.log_p(tokens, rows)
            losses.append(losses_of(log_p, tokens, rows))
            for _ in range(2):
                learned = learned.after(tokens, rows, rate=0.05)
        return np.concatenate(losses)

    return Subject(
        name="test time training",
        scorer=CallableScorer(score, text.vocab_size),
        declared=Declared(chunk_targets=48),
    )
