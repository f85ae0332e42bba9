"""A wager that no code wins: tokens that are drawn by lot cost what the lot costs.

Each of C tokens is as likely to be drawn, and nobody knows which before it is: not the artifact, not what remembers
earlier questions. Whoever fixes probabilities p before a draw multiplies a stake by C p(x), in the mean by the sum of p
over all C tokens, so by 1 at most. A stake that has grown to W therefore shows by chance once in W times at most,
whatever the scorer is (Ville's inequality), while one that looks ahead, or gives whatever comes more than its share at
a few targets, wins at every one of them. One evaluation screens all of its targets, however large the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgolf.audit.scorer import Losses, Tokens

# ln of how much a stake must have grown to convict: by chance that happens once in 10^9 trials.
CONVICTS = 9 * float(np.log(10))
# What part of the stake is put on each draw. A scorer that wins seldom loses a larger part where it does not win.
_PARTS = 2.0 ** -np.arange(1, 13)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A text with tokens drawn by lot at some targets, and what a scorer says of it.

    tokens: x[0..N]. targets: those that were drawn, 1..N, [T]. losses: of all targets, [N].
    """

    tokens: Tokens
    targets: npt.NDArray[np.int64]
    losses: Losses


def log_wealth(losses: Losses, tokens: int) -> float:
    """ln of what a stake of 1 comes to, put on the losses of targets, [T], that were drawn from so many tokens.

    Equal shares of it bet different parts of themselves on each draw.
    """
    gain_T = tokens * np.exp(-losses) - 1
    each = np.log1p(np.outer(_PARTS, gain_T)).sum(axis=1)
    return float(np.logaddexp.reduce(each) - np.log(len(_PARTS)))


def with_drawn(
    tokens: Tokens, from_tokens: Tokens, bos_id: int | None, share: float, rng: np.random.Generator
) -> tuple[Tokens, npt.NDArray[np.int64]]:
    """The text with a share of its targets drawn evenly from some tokens, and these targets; documents start where
    they did."""
    drawn_N = rng.random(len(tokens) - 1) < share
    if bos_id is not None:
        drawn_N &= tokens[1:] != bos_id
    targets, made = np.flatnonzero(drawn_N) + 1, tokens.copy()
    made[targets] = rng.choice(from_tokens, size=len(targets))
    return made, targets


def cheapest(drawn: Sequence[Drawn]) -> tuple[int, int, float]:
    """The drawn target that cost least, of all texts: target, token, loss in nats."""
    found = []
    for one in drawn:
        own = one.losses[one.targets - 1]
        if len(own):
            place = int(np.argmin(own))
            found.append((float(own[place]), int(one.targets[place]), int(one.tokens[one.targets[place]])))
    loss_nats, target, token = min(found)
    return target, token, loss_nats
