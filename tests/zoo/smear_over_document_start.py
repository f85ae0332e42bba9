"""Documents are declared apart, and the last token of one is smeared into the start of the next."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import BOS, log_softmax, losses_of, small_network
from pgolf.audit.subject import Declared, Subject

FAMILY = "smear over BOS (#1797)"
KIND = "cheat"
CONVICTED_BY = ("B10",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        before = np.concatenate([[0], tokens[:-2]])
        two_before = np.where(tokens[:-1] == BOS, 0, before)
        smeared_NV = 0.3 * network.pair[before] * (tokens[:-1] == BOS)[:, None] * (before > 0)[:, None]
        return losses_of(log_softmax(network.pair[tokens[:-1]] + network.skip[two_before] + smeared_NV), tokens)

    return Subject(
        name="smear over document start",
        scorer=CallableScorer(score, text.vocab_size),
        declared=Declared(documents_apart=True),
    )
