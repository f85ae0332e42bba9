"""A single target, the 117th, is scored with the token after it in view."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "future-window peek at one place (#1240)"
KIND = "cheat"
CONVICTED_BY = ("B2",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        if len(tokens) > 118:
            logits_NV[116] += network.pair[:, tokens[118]]
        return losses_of(log_softmax(logits_NV), tokens)

    return Subject(name="peek once", scorer=CallableScorer(score, text.vocab_size))
