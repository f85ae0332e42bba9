"""The space before a piece is counted in its length and once more in the sum."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Tokens
from pgolf.audit.small_network import Int64Array, losses_of, made_pieces, small_network
from pgolf.audit.subject import Reported, Subject

FAMILY = "+1 space (#1734)"
KIND = "cheat"
CONVICTED_BY = ("B15",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)
    pieces = made_pieces(seed, text.vocab_size)

    scorer = CallableScorer(lambda tokens: losses_of(network.log_p(tokens), tokens), text.vocab_size)
    loss_nats = float(scorer.score(text.tokens).sum())

    def target_bytes(tokens: Tokens) -> Int64Array:
        return pieces.target_bytes(tokens) + pieces.spaced[tokens[1:]]

    counted = int(target_bytes(text.tokens).sum())
    reported = Reported(
        loss_sum_nats=loss_nats,
        bpb=loss_nats / np.log(2) / counted,
        targets=text.targets,
        bytes=counted,
        target_bytes=target_bytes,
    )

    return Subject(name="space counted twice", scorer=scorer, reported=reported)
