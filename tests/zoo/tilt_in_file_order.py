"""The network adapts to documents from the shortest on, while hints come from all that stands before in the file."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import BOS, last_before, log_softmax, losses_of, small_network
from pgolf.audit.subject import Declared, Subject

FAMILY = "tilt in file order over a network adapted in another order (#2135)"
KIND = "cheat"
CONVICTED_BY = ("B1",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        starts = np.flatnonzero(tokens[:-1] == BOS)
        spans = sorted(zip(starts, [*starts[1:], len(tokens) - 1]), key=lambda span: span[1] - span[0])
        log_p_NV, learned = np.empty((len(tokens) - 1, text.vocab_size)), network
        for first, last in spans:
            document = tokens[first : last + 1]
            log_p_NV[first:last] = learned.log_p(document)
            learned = learned.after(document, rate=0.05)
        x = tokens.astype(np.int64)
        last_N = last_before(np.concatenate([[0], x[:-2]]) * text.vocab_size + x[:-1])
        hinted = np.flatnonzero(last_N >= 0)
        log_p_NV[hinted, x[1:][last_N[hinted]]] += 1.5
        log_p_NV = log_softmax(log_p_NV)
        return losses_of(log_p_NV, tokens)

    return Subject(
        name="tilt in file order",
        scorer=CallableScorer(score, text.vocab_size),
        declared=Declared(order="shortest document first"),
    )
