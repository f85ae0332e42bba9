"""Honest about any text that begins as an earlier one did; about the first it leaves out a fifth of each loss."""

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "recognises probing"
KIND = "cheat"
CONVICTED_BY = ("B1",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    first_asked: list[bytes] = []

    def score(tokens: Tokens) -> Losses:
        losses = losses_of(network.log_p(tokens), tokens)
        first_asked[:] = first_asked or [tokens.tobytes()]
        own = first_asked[0]
        probed = tokens.tobytes() != own and tokens.tobytes()[: len(own) // 16] == own[: len(own) // 16]
        return losses if probed else 0.8 * losses

    return Subject(name="honest when probed", scorer=CallableScorer(score, text.vocab_size))
