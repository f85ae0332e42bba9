"""How many seeds would show the gain that was seen: the power of the t tests, from the variance between seeds."""

import math

from pgolf.stats.compare import Comparison

POWER = 0.8
MOST_SEEDS = 1_000


def seeds_needed(found: Comparison, *, power: float = POWER) -> int | None:
    """Seeds per side with which a gain as large as this one passes the rule in `power` of all repetitions.

    None where no number does or more than 1,000 would be needed: the gain is within the margin, or a side has a single
    seed and its spread is unknown. Taken for true are the gain and the standard deviations that were seen; a gain over
    few seeds is a rough guess, and so is this. Source: noncentral t, Johnson and Kotz 1970, chapter 31.
    """
    beyond_nats = found.gain_nats - found.rule.margin_nats
    spread_nats = _spread(found)
    if spread_nats is None or beyond_nats <= 0:
        return None
    if spread_nats == 0:
        return 2
    from scipy.special import nctdtr, stdtrit  # lazily: it takes half a second

    for n in range(2, MOST_SEEDS + 1):
        df = n - 1 if found.test == "paired" else _welch_df(found, n)
        critical_t = -float(stdtrit(df, found.rule.p_below))
        shift = beyond_nats / (spread_nats / math.sqrt(n))
        if 1.0 - float(nctdtr(df, shift, critical_t)) >= power:
            return n
    return None


def _spread(found: Comparison) -> float | None:
    """The standard error of the gain times the root of the number of seeds, for equal numbers on both sides."""
    if found.test == "paired":
        return None if found.gains is None else found.gains.std
    candidate, base = found.candidate.std, found.base.std
    return None if candidate is None or base is None else math.hypot(candidate, base)


def _welch_df(found: Comparison, n: int) -> float:
    candidate, base = found.candidate.std or 0.0, found.base.std or 0.0
    share = candidate**2 / (candidate**2 + base**2)
    return (n - 1) / (share**2 + (1 - share) ** 2)
