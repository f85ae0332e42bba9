"""Documents in batches of three of like length; a batch is learned when it has been scored."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import BOS, losses_of, small_network
from pgolf.audit.subject import Declared, Subject

FAMILY = "phased learning in batches, order declared (#1610, #1626)"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        starts = np.flatnonzero(tokens[:-1] == BOS)
        spans = sorted(zip(starts, [*starts[1:], len(tokens) - 1]), key=lambda span: span[1] - span[0])
        losses, learned = np.empty(len(tokens) - 1), network
        for batch in range(0, len(spans), 3):
            before = learned
            for first, last in spans[batch : batch + 3]:
                document = tokens[first : last + 1]
                losses[first:last] = losses_of(before.log_p(document), document)
                learned = learned.after(document, rate=0.03)
        return losses

    return Subject(
        name="phased in batches",
        scorer=CallableScorer(score, text.vocab_size),
        declared=Declared(order="shortest document first"),
    )
