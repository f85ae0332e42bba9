"""What a scorer is to the audit: tokens in, one loss per target out.

A text is a stream of tokens x[0..N]. x[0] is given; x[1..N] are the targets, and a scorer answers -ln p(x[t]) for each
of them in nats, in float64, [N]. Shapes: N targets, V vocabulary, T targets that are asked for.

Two further abilities are optional. Where a scorer has neither, the audit asks it about whole texts that differ in
places, which takes longer and shows the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.uint16]
Losses = npt.NDArray[np.float64]


@runtime_checkable
class Scorer(Protocol):
    """Every call of `score` is an evaluation of its own, which begins with what the artifact holds and nothing else."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, V."""
        ...

    def score(self, tokens: Tokens) -> Any:
        """Losses of x[1..N] in nats, [N]; tokens: x[0..N]."""
        ...


@runtime_checkable
class Feedable(Protocol):
    """A scorer that takes the text piece by piece, so that it cannot have seen what it has not been given."""

    def start(self, first: int, targets: int) -> "Session":
        """Begin an evaluation. first: x[0]. targets: how many will follow, N."""
        ...


@runtime_checkable
class Session(Protocol):
    """An evaluation under way."""

    def feed(self, tokens: Tokens) -> Any:
        """Losses of the next targets in nats, one per token."""
        ...


@runtime_checkable
class Forkable(Protocol):
    """A session that can be copied: both go on from here, and neither sees what the other is fed."""

    def fork(self) -> "Session":
        """A copy."""
        ...


@runtime_checkable
class Distributed(Protocol):
    """A session that tells the whole distribution that the next target's loss will be taken from."""

    def distribution(self) -> Any:
        """ln p(v) of the next target for every token v, [V]."""
        ...


@runtime_checkable
class Foretelling(Protocol):
    """A scorer that tells of a whole text, in one evaluation, what its sessions would tell before some targets.

    It has all of the text while it tells. B5 looks for what it may make of that.
    """

    def foretell(self, tokens: Tokens, targets: Sequence[int]) -> Any:
        """ln p(v) of each of these targets, 1..N, for every token v, [T, V]."""
        ...


@runtime_checkable
class Apart(Protocol):
    """A feedable scorer that runs as a process of its own: it holds no token that it was not fed, and starting it takes
    time.

    isolation: how it is kept from what is not its own. conduct: what it did besides answering.
    """

    isolation: str
    conduct: Sequence["ScorerFault"]


@runtime_checkable
class Closable(Protocol):
    """A session that holds something until it is closed."""

    def close(self) -> None:
        """End it."""
        ...


class ScorerFault(Exception):
    """A scorer gave no answer, or one that is none. kind: what it did, in a word or two; `target` where it did it."""

    def __init__(self, kind: str, message: str, *, target: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.target = kind, target


@dataclass(frozen=True, slots=True)
class CallableScorer:
    """A Python function as a scorer: function(tokens) -> losses in nats, as `Scorer.score`."""

    function: Callable[[Tokens], Any]
    vocab_size: int

    def score(self, tokens: Tokens) -> Any:
        """What the function returns."""
        return self.function(tokens)


def checked_losses(
    answer: Any, count: int, *, made_up: bool = False, first: int = 1, of: Literal["target", "token"] = "target"
) -> Losses:
    """A scorer's answer about so many targets, or about one and so many tokens, as float64, [count].

    Raises ScorerFault unless it is one finite number that is not negative for each. made_up: the text is none that
    anyone wrote, and a token in it may have the probability 0, whose loss is infinite. first: the number of the
    target, 1..N, or token whose loss comes first.
    """
    try:
        losses = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ScorerFault("garbage", f"answered with {_short(answer)}, which are no losses: {error}") from error
    if losses.shape != (count,):
        shape = "×".join(map(str, losses.shape)) or "one number"
        raise ScorerFault("wrong number", f"answered with {shape} losses for {count:,} {of}s")
    for kind, bad, what in (
        ("not finite", np.isnan(losses) | (np.isposinf(losses) & (not made_up)), "is no finite number"),
        ("probability above 1", losses < 0, "is negative: a probability above 1"),
    ):
        if bad.any():
            place = int(np.argmax(bad))
            raise ScorerFault(
                kind,
                f"answered {float(losses[place])} nats for {of} {place + first:,}, which {what} ({int(bad.sum()):,} "
                f"such of {count:,})",
                target=place + first if of == "target" else None,
            )
    return losses


def _short(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) <= 60 else f"{text[:60]}…"
