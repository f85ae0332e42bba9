"""A first pass counts the text, a second one scores it with those counts."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "two-pass rescore (#846, #986)"
KIND = "cheat"
CONVICTED_BY = ("B1",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        count_VV = np.full((text.vocab_size, text.vocab_size), 0.1)
        np.add.at(count_VV, (tokens[:-1], tokens[1:]), 1.0)
        share_VV = count_VV / count_VV.sum(axis=1, keepdims=True)
        p_NV = np.exp(network.log_p(tokens))
        return losses_of(np.log(0.7 * p_NV + 0.3 * share_VV[tokens[:-1]]), tokens)

    return Subject(name="two passes", scorer=CallableScorer(score, text.vocab_size))
