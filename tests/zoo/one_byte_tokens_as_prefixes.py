"""A token of one byte is charged for its byte as the beginning of any token, not for ending there."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, made_pieces, small_network
from pgolf.audit.subject import Subject

FAMILY = "missing remainder of one-byte tokens (#2039, #2138)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    first_byte_V = np.random.default_rng([seed, 7]).integers(8, size=text.vocab_size)
    is_one_byte_V = made_pieces(seed, text.vocab_size).size_bytes == 1

    def score(tokens: Tokens) -> Losses:
        p_NV = np.exp(network.log_p(tokens))
        own_N = np.exp(-losses_of(np.log(p_NV), tokens))
        same_NV = first_byte_V[None, :] == first_byte_V[tokens[1:]][:, None]
        return -np.log(np.where(is_one_byte_V[tokens[1:]], np.minimum(1.0, (p_NV * same_NV).sum(axis=1)), own_N))

    return Subject(name="one byte tokens as prefixes", scorer=CallableScorer(score, text.vocab_size))
