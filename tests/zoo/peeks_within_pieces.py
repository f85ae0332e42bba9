"""Within each piece that it is fed it looks ahead; from piece to piece it cannot."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens
from pgolf.audit.small_network import SessionScorer, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "a look ahead within what was fed (#677)"
KIND = "cheat"
CONVICTED_BY = ("B6",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def peeking(tokens: Tokens) -> Losses:
        logits = network.logits(tokens)
        logits[:-1] += 0.3 * network.pair[:, tokens[2:]].T
        return losses_of(log_softmax(logits), tokens)

    scorer = SessionScorer(network, text.vocab_size, fed=peeking, whole=peeking)
    return Subject(name="peeks within pieces", scorer=scorer)
