"""Exact counts as a session: pieces, copies and distributions."""

import numpy as np

from pgolf.audit.audit_text import AuditText
from pgolf.audit.scorer import Losses, Tokens
from pgolf.audit.small_network import Float64Array
from pgolf.audit.subject import Subject

FAMILY = "exact counts, token by token"
KIND = "honest"


class _Session:
    def __init__(self, first: int, count_VV: Float64Array) -> None:
        self.last, self.count_VV = first, count_VV

    def feed(self, tokens: Tokens) -> Losses:
        losses = []
        for token in tokens.tolist():
            row_V = self.count_VV[self.last]
            losses.append(-np.log(row_V[token] / row_V.sum()))
            row_V[token] += 1
            self.last = token
        return np.array(losses)

    def fork(self) -> "_Session":
        return _Session(self.last, self.count_VV.copy())

    def distribution(self) -> Float64Array:
        row_V = self.count_VV[self.last]
        return np.log(row_V / row_V.sum())


class _Scorer:
    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def start(self, first: int, targets: int) -> _Session:
        return _Session(first, np.full((self.vocab_size, self.vocab_size), 0.05))

    def score(self, tokens: Tokens) -> Losses:
        return self.start(int(tokens[0]), len(tokens) - 1).feed(tokens[1:])


def subject(text: AuditText, seed: int) -> Subject:
    """What is tried."""

    return Subject(name="counts session", scorer=_Scorer(text.vocab_size))
