"""The right losses over more bytes than the text has."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Reported, Subject

FAMILY = "another denominator (#1785)"
KIND = "cheat"
CONVICTED_BY = ("B15",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    scorer = CallableScorer(lambda tokens: losses_of(network.log_p(tokens), tokens), text.vocab_size)
    loss_nats = float(scorer.score(text.tokens).sum())

    counted = int(1.05 * text.target_bytes.sum()) if text.target_bytes is not None else 0

    return Subject(
        name="bytes of another text",
        scorer=scorer,
        reported=Reported(loss_sum_nats=loss_nats, bpb=loss_nats / np.log(2) / counted, bytes=counted),
    )
