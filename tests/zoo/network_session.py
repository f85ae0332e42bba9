"""The network as a session: pieces, copies and distributions."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens
from pgolf.audit.small_network import SessionScorer, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "fixed network, token by token"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def losses(tokens: Tokens) -> Losses:
        return losses_of(network.log_p(tokens), tokens)

    scorer = SessionScorer(network, text.vocab_size, fed=losses, whole=losses)
    return Subject(name="network session", scorer=scorer)
