"""The right losses, the last first."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "losses in another order (#1017)"
KIND = "cheat"
CONVICTED_BY = (
    "B1",
    "B7",
)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        return losses_of(network.log_p(tokens), tokens)[::-1]

    return Subject(name="losses in reverse", scorer=CallableScorer(score, text.vocab_size))
