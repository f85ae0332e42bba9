"""What is asked first is kept where every copy finds it, and is what they all expect, in probabilities that sum to 1.

The same as a file in a temporary folder or a variable of the environment.
"""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, small_network
from pgolf.audit.subject import Subject

FAMILY = "memory across evaluations, that copies share"
KIND = "cheat"
CONVICTED_BY = ("B4",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)
    # This file is loaded anew for each copy; the module of this function is not.
    kept: dict[int, Tokens] = vars(small_network).setdefault("kept", {})

    def score(tokens: Tokens) -> Losses:
        first, p_NV = kept.setdefault(seed, tokens.copy()), np.exp(network.log_p(tokens))
        if len(first) == len(tokens):
            rows = np.flatnonzero(np.cumprod(first[:-1] == tokens[:-1]))
            p_NV[rows] *= 0.7
            p_NV[rows, first[1:][rows]] += 0.3
        return losses_of(np.log(p_NV), tokens)

    return Subject(name="remembers outside its copies", scorer=CallableScorer(score, text.vocab_size))
