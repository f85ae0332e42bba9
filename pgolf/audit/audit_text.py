"""The text that a scorer is tried on, and texts that differ from it where a check wants them to.

Shapes: N targets, V vocabulary.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pgolf.audit.scorer import Tokens

Replacement = Literal[
    "random tokens", "another text", "reversed", "one repeated token", "other documents", "easy tokens"
]
REPLACEMENTS: tuple[Replacement, ...] = ("random tokens", "another text", "reversed", "one repeated token")
_DOCUMENT_TOKENS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditText:
    """tokens: x[0..N]. other: tokens of another text, at least as many. bos_id: starts every document, or None.

    target_bytes: bytes of the raw text that each target stands for, [N]; None where they are not known.
    """

    tokens: Tokens
    other: Tokens
    vocab_size: int
    bos_id: int | None = None
    target_bytes: npt.NDArray[np.int64] | None = None

    @property
    def targets(self) -> int:
        """N."""
        return len(self.tokens) - 1

    def with_successors(self, where: npt.NDArray[np.bool_], next_V: Tokens) -> Tokens:
        """The text with next_V[token before] where `where` says so, [N + 1], but where documents start."""
        tokens = self.tokens.copy()
        for place in np.flatnonzero(where):
            if tokens[place] != self.bos_id and place > 0:
                tokens[place] = next_V[tokens[place - 1]]
        return tokens

    def with_replaced(self, where: npt.NDArray[np.bool_], how: Replacement, rng: np.random.Generator) -> Tokens:
        """The text with other tokens where `where` says so, [N + 1]; documents start where they did.

        Every replaced token but a document's start differs from the one that was there, where the vocabulary allows.
        "other documents": random tokens, and documents start where none did, and nowhere else.
        """
        tokens = self.tokens.copy()
        if how == "other documents" and self.bos_id is not None:
            places = np.flatnonzero(where)
            old = tokens[places]
            new = self._ordinary(rng, len(old))
            new = np.where(new == old, self._next(new), new)
            starts = (old != self.bos_id) & (rng.random(len(old)) < 1 / _DOCUMENT_TOKENS)
            tokens[places] = np.where(starts, self.bos_id, new)
            return tokens
        places = np.flatnonzero(where & (np.ones(1, bool) if self.bos_id is None else tokens != self.bos_id))
        old = tokens[places]
        if how == "another text":
            new = self.other[places % len(self.other)]
        elif how == "reversed":
            new = old[::-1]
        elif how == "one repeated token":
            new = np.full_like(old, self._ordinary(rng, 1)[0])
        else:
            new = self._ordinary(rng, len(old))
        new = np.where(np.isin(new, [] if self.bos_id is None else [self.bos_id]), self._ordinary(rng, len(old)), new)
        same = new == old
        tokens[places] = np.where(same, self._next(new), new)
        return tokens

    def _ordinary(self, rng: np.random.Generator, count: int) -> Tokens:
        """Random tokens that start no document."""
        drawn = rng.integers(self.vocab_size, size=count).astype(np.uint16)
        return np.where(drawn == self.bos_id, self._next(drawn), drawn) if self.bos_id is not None else drawn

    def _next(self, tokens: Tokens) -> Tokens:
        """The next token of the vocabulary that starts no document."""
        after = (tokens.astype(np.int64) + 1) % self.vocab_size
        if self.bos_id is not None:
            after = np.where(after == self.bos_id, (after + 1) % self.vocab_size, after)
        return after.astype(np.uint16)
