"""A second pass with the text's own counts, little enough at each target to be lost in noise that was added."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import log_softmax, losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "two-pass rescore behind noise (#846)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    rng = np.random.default_rng([seed, 11])

    def score(tokens: Tokens) -> Losses:
        count_VV = np.full((text.vocab_size, text.vocab_size), 0.1)
        np.add.at(count_VV, (tokens[:-1], tokens[1:]), 1.0)
        share_VV = count_VV / count_VV.sum(axis=1, keepdims=True)
        logits_NV = network.logits(tokens)
        p_NV = np.exp(log_softmax(logits_NV + 0.1 * rng.standard_normal(logits_NV.shape)))
        return losses_of(np.log(0.97 * p_NV + 0.03 * share_VV[tokens[:-1]]), tokens)

    return Subject(name="noise as cover", scorer=CallableScorer(score, text.vocab_size))
