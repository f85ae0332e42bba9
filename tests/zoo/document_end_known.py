"""The last token of a document is scored by one who knows that the document ends."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import BOS, log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "document borders taken from the future (#1240)"
KIND = "cheat"
CONVICTED_BY = ("B2",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    last_V = np.random.default_rng([seed, 8]).standard_normal(text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        logits_NV = network.logits(tokens)
        logits_NV[:-1][tokens[2:] == BOS] += last_V
        return losses_of(log_softmax(logits_NV), tokens)

    return Subject(name="document end known", scorer=CallableScorer(score, text.vocab_size))
