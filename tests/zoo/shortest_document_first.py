"""Documents are scored and learned one after the other, the shortest first, as declared."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import BOS, losses_of, small_network
from pgolf.audit.subject import Declared, Subject

FAMILY = "phased learning on scored documents, order declared (#1530, #1610)"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        starts = np.flatnonzero(tokens[:-1] == BOS)
        spans = sorted(zip(starts, [*starts[1:], len(tokens) - 1]), key=lambda span: span[1] - span[0])
        losses, learned = np.empty(len(tokens) - 1), network
        for first, last in spans:
            document = tokens[first : last + 1]
            losses[first:last] = losses_of(learned.log_p(document), document)
            learned = learned.after(document, rate=0.05)
        return losses

    return Subject(
        name="shortest document first",
        scorer=CallableScorer(score, text.vocab_size),
        declared=Declared(order="shortest document first"),
    )
