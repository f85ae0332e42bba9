"""Probabilities raised to a power below 1, and not renormalized."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "temperature without a sum (#886)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        return 0.98 * losses_of(network.log_p(tokens), tokens)

    return Subject(name="sharpened not renormalized", scorer=CallableScorer(score, text.vocab_size))
