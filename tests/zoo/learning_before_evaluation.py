"""The network learns the text to be scored, then scores it."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "pre-evaluation learning (#1376, #1972)"
KIND = "cheat"
CONVICTED_BY = (
    "B1",
    "B9",
)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        learned = network
        for _ in range(3):
            learned = learned.after(tokens, rate=0.1)
        return losses_of(learned.log_p(tokens), tokens)

    return Subject(name="learning before evaluation", scorer=CallableScorer(score, text.vocab_size))
