"""Each process counts what it has scored itself, so the score depends on how many there are."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, seen_before, small_network
from pgolf.audit.subject import Subject

FAMILY = "per-rank cache (#808)"
KIND = "cheat"
CONVICTED_BY = ("B11",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def scorer(ranks: int) -> CallableScorer:
        def score(tokens: Tokens) -> Losses:
            p_N, x = np.exp(-losses_of(network.log_p(tokens), tokens)), tokens.astype(np.int64)
            for rank in range(ranks):
                before, target = x[:-1][rank::ranks], x[1:][rank::ranks]
                pair_count = seen_before(before * text.vocab_size + target)
                share = (pair_count + 0.1) / (seen_before(before) + 0.1 * text.vocab_size)
                p_N[rank::ranks] = 0.8 * p_N[rank::ranks] + 0.2 * share
            return -np.log(p_N)

        return CallableScorer(score, text.vocab_size)

    return Subject(name="cache per rank", scorer=scorer(1), variants={"8 processes": scorer(8)})
