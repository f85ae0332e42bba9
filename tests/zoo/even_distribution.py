"""Every token is as likely as any other, so no loss depends on its target."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import CallableScorer, Losses, Tokens
from pgolf.audit.subject import Subject

FAMILY = "the even distribution"
KIND = "honest"


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""

    def score(tokens: Tokens) -> Losses:
        return np.full(len(tokens) - 1, np.log(text.vocab_size))

    return Subject(name="even distribution", scorer=CallableScorer(score, text.vocab_size))
