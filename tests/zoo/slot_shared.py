"""One delta of the logits is learned on all targets of a batch of windows, then the batch is scored with it."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, small_network
from pgolf.audit.subject import Subject

FAMILY = "SLOT, shared (#1176, #1229)"
KIND = "cheat"
CONVICTED_BY = ("B2",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        losses = []
        for first in range(0, len(tokens) - 1, 128):
            rows = slice(first, first + 128)
            wanted = np.eye(text.vocab_size)[tokens[1:][rows]]
            logits, delta_V = network.logits(tokens, rows), np.zeros(text.vocab_size)
            for _ in range(4):
                delta_V = delta_V - 2.0 * (np.exp(log_softmax(logits + delta_V)) - wanted).mean(axis=0)
            losses.append(-(log_softmax(logits + delta_V) * wanted).sum(axis=1))
        return np.concatenate(losses)

    return Subject(name="slot shared", scorer=CallableScorer(score, text.vocab_size))
