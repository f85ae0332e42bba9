"""Fed token by token it is the network; given a whole text it looks one token ahead."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens
from pgolf.audit.small_network import SessionScorer, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "a look ahead that a feed does not have (#677)"
KIND = "cheat"
CONVICTED_BY = ("B6",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def losses(tokens: Tokens) -> Losses:
        return losses_of(network.log_p(tokens), tokens)

    def peeking(tokens: Tokens) -> Losses:
        logits = network.logits(tokens)
        logits[:-1] += 0.3 * network.pair[:, tokens[2:]].T
        return losses_of(log_softmax(logits), tokens)

    scorer = SessionScorer(network, text.vocab_size, fed=losses, whole=peeking)
    return Subject(name="peeks in whole texts", scorer=scorer)
