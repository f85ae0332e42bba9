"""Before the target it tells the network's distribution, and scores by a sharper one."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens
from pgolf.audit.small_network import SessionScorer, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "a distribution that is not scored by (#659)"
KIND = "cheat"
CONVICTED_BY = ("B5",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def sharper(tokens: Tokens) -> Losses:
        return losses_of(log_softmax(1.1 * network.logits(tokens)), tokens)

    scorer = SessionScorer(network, text.vocab_size, fed=sharper, whole=sharper)
    return Subject(name="tells another distribution", scorer=scorer)
