"""The first evaluation knows the text; every later one is the network's."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "self-modifying on retry, the other way (#1376)"
KIND = "cheat"
CONVICTED_BY = ("B11",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    asked: list[int] = []

    def score(tokens: Tokens) -> Losses:
        losses = losses_of(network.log_p(tokens), tokens)
        asked.append(1)
        return losses if len(asked) > 1 else 0.7 * losses

    return Subject(name="cheats once", scorer=CallableScorer(score, text.vocab_size))
