"""Each document begins with the network as it was, and with no token of another in view."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import BOS, losses_of, small_network
from pgolf.audit.subject import Declared, Subject

FAMILY = "documents apart, with reset (#1530)"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        starts, losses = np.flatnonzero(tokens[:-1] == BOS), []
        for first, last in zip(starts, [*starts[1:], len(tokens) - 1]):
            document, learned = tokens[first : last + 1], network
            for begin in range(0, len(document) - 1, 32):
                rows = slice(begin, begin + 32)
                log_p = learned.log_p(document, rows)
                losses.append(losses_of(log_p, document, rows))
                learned = learned.after(document, rows, rate=0.05)
        return np.concatenate(losses)

    return Subject(
        name="documents apart",
        scorer=CallableScorer(score, text.vocab_size),
        declared=Declared(documents_apart=True),
    )
