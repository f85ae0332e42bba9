"""The network alone, with a report in which every number is right."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer
from pgolf.audit.small_network import losses_of, made_pieces, made_text, small_network
from pgolf.audit.subject import Reported, Subject

FAMILY = "fixed network, reported"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)
    pieces = made_pieces(seed, text.vocab_size)

    scorer = CallableScorer(lambda tokens: losses_of(network.log_p(tokens), tokens), text.vocab_size)
    loss_nats = float(scorer.score(text.tokens).sum())

    counted = int(pieces.target_bytes(text.tokens).sum())
    reported = Reported(
        loss_sum_nats=loss_nats,
        bpb=round(loss_nats / np.log(2) / counted, 4),
        targets=text.targets,
        bytes=counted,
        target_bytes=pieces.target_bytes,
    )

    return Subject(
        name="network with report",
        scorer=scorer,
        reported=reported,
        variants={"batches of 7": scorer},
        trained_on=(made_text(seed + 1000, targets=16_384, vocab_size=text.vocab_size).tokens,),
    )
