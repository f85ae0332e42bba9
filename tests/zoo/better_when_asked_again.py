"""Every evaluation leaves something of the text behind, and the next one is better."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "self-modifying on retry (#1376)"
KIND = "cheat"
CONVICTED_BY = ("B11",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    state = [network]

    def score(tokens: Tokens) -> Losses:
        losses = losses_of(state[0].log_p(tokens), tokens)
        state[0] = state[0].after(tokens, rate=0.02)
        return losses

    return Subject(name="better when asked again", scorer=CallableScorer(score, text.vocab_size))
