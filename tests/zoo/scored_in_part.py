"""The first fifth of the text is scored, and reported as if it were all."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Reported, Subject

FAMILY = "a subset of the validation set (#1854, #1785)"
KIND = "cheat"
CONVICTED_BY = ("B16",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    scorer = CallableScorer(lambda tokens: losses_of(network.log_p(tokens), tokens), text.vocab_size)

    some = text.targets // 5
    part_nats = float(scorer.score(text.tokens)[:some].sum())
    counted = int(text.target_bytes[:some].sum()) if text.target_bytes is not None else 0

    return Subject(
        name="scored in part",
        scorer=scorer,
        reported=Reported(loss_sum_nats=part_nats, targets=some, bytes=counted, bpb=part_nats / np.log(2) / counted),
    )
