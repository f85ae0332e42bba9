"""Texts whose end was replaced: what a scorer says about the beginning must not change.

Shapes: N targets.
"""

from dataclasses import dataclass

import numpy as np

from pgolf.audit.audit_text import Replacement
from pgolf.audit.scorer import Tokens
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence


@dataclass(frozen=True, slots=True)
class Change:
    """The loss of `target`, scored among the first `scored` targets, changed when later tokens were replaced."""

    target: int
    scored: int
    before_nats: float
    after_nats: float
    how: str
    replaced: int

    @property
    def size_nats(self) -> float:
        """How far the two losses are apart."""
        return abs(self.after_nats - self.before_nats)

    def __str__(self) -> str:
        tokens = "the next token" if self.replaced == 1 else f"{self.replaced:,} later tokens"
        return (
            f"the loss of target {self.target:,} was {self.before_nats:.4f} nats and became {self.after_nats:.4f} when "
            f"{tokens} changed ({self.how}), all of them scored after target {self.target:,}"
        )

    def evidence(self) -> Evidence:
        """For the verdict."""
        numbers = {"before_nats": self.before_nats, "after_nats": self.after_nats, "replaced_tokens": self.replaced}
        return Evidence(what=str(self), target=self.target, values=numbers)


def change_before(trial: Trial, scored: int, how: Replacement, *, replaced: int | None = None) -> Change | None:
    """The largest change among the first `scored` targets, in the order of scoring, when later ones are replaced.

    replaced: how many of the later ones, the next ones; None: all. None if no change exceeds the noise.
    """
    tokens = text_before(trial, scored, how, replaced=replaced)
    return _largest(trial, scored, tokens, how, int((tokens != trial.text.tokens).sum()))


def text_before(trial: Trial, scored: int, how: Replacement, *, replaced: int | None = None) -> Tokens:
    """The text with other tokens behind the first `scored` targets, in the order of scoring, [N + 1]."""
    place_N = trial.places
    last = trial.text.targets if replaced is None else scored + replaced
    where = np.zeros(trial.text.targets + 1, dtype=bool)
    where[1:] = (place_N >= scored) & (place_N < last)
    if how == "easy tokens":
        return trial.text.with_successors(where, trial.easiest_next)
    return trial.text.with_replaced(where, how, trial.rng(f"{how} {scored} {replaced}"))


def smallest_change(trial: Trial, change: Change, how: Replacement) -> Change:
    """A change that fewer replaced tokens make: the next one alone, or the next 2, 4, 8 …"""
    replaced = 1
    while replaced < change.replaced:
        # As near to the target as it can be seen from.
        own_place = int(trial.places[change.target - 1]) + 1
        for scored in dict.fromkeys((own_place, change.scored)):
            if (found := change_before(trial, scored, how, replaced=replaced)) is not None and found.replaced > 0:
                return found
        replaced *= 2
    return change


def _largest(trial: Trial, scored: int, tokens: Tokens, how: str, replaced: int) -> Change | None:
    if replaced == 0:
        return None
    after = trial.losses(tokens)
    off = np.where(trial.places < scored, trial.off(after), 0.0)
    place = int(np.argmax(off))
    if off[place] == 0:
        return None
    return Change(place + 1, scored, float(trial.base[place]), float(after[place]), how, replaced)
