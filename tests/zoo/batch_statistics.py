"""Logits are centred by their mean over the whole text."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "statistics over the future (#728)"
KIND = "cheat"
CONVICTED_BY = ("B1",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        return losses_of(log_softmax(logits_NV - 0.5 * logits_NV.mean(axis=0)), tokens)

    return Subject(name="batch statistics", scorer=CallableScorer(score, text.vocab_size))
