"""Trained on shards that hold documents of the text."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.small_network import losses_of, made_text, small_network
from pgolf.audit.subject import Subject

FAMILY = "leaked split (#2018)"
KIND = "cheat"
CONVICTED_BY = ("B17",)


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""
    network = small_network(seed, text.vocab_size)

    def score(tokens: Tokens) -> Losses:
        return losses_of(network.after(text.tokens, rate=0.2).log_p(tokens), tokens)

    own = made_text(seed + 1000, targets=16_384, vocab_size=text.vocab_size).tokens
    shards = (own, np.concatenate([text.other, text.tokens, text.other[:100]]))

    return Subject(
        name="leaked split",
        scorer=CallableScorer(score, text.vocab_size),
        trained_on=shards,
    )
