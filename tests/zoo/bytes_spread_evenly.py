"""Mixed with a byte model byte by byte, the network's probability spread evenly over a token's bytes."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, made_pieces, small_network
from pgolf.audit.subject import Subject

FAMILY = "uniform byte spread (#1835, #1854, #1872)"
KIND = "cheat"
CONVICTED_BY = ("B3",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    size_V = np.maximum(1, made_pieces(seed, text.vocab_size).size_bytes)

    def score(tokens: Tokens) -> Losses:
        size_N, loss_N = size_V[tokens[1:]], losses_of(network.log_p(tokens), tokens)
        each_byte_N = np.exp(-loss_N / size_N)
        return -size_N * np.log(0.8 * each_byte_N + 0.2 * 0.25)

    return Subject(name="bytes spread evenly", scorer=CallableScorer(score, text.vocab_size))
