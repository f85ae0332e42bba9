"""One-sided t tests over seeds: is one recipe better than another by more than a margin?

Losses are nats per token or nats per byte, lower is better. The hypothesis to reject is "the gain is at most the
margin"; t = (candidate mean - base mean + margin) / standard error, so a gain beyond the margin makes t negative and
p small. With margin 0 this is the t that published records state.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pgolf.errors import DataError
from pgolf.stats.seeds import SeedSummary, summarize


@dataclass(frozen=True, slots=True, kw_only=True)
class GainRule:
    """The margin that a gain must exceed, its unit, the significance level, and the source of the rule."""

    margin_nats: float
    per: Literal["token", "byte"]
    p_below: float
    source: str

    @property
    def unit(self) -> str:
        """The unit of margin and losses, in words."""
        return f"nats per {self.per}"


RECORD_RULE = GainRule(
    margin_nats=0.005,
    per="token",
    p_below=0.01,
    source="openai/parameter-golf README: 0.005 nats at p < 0.01; per token as in merged PRs #1019 and #1437",
)


# What the final boards went by: any gain over the row before it in time, at a level that one seed in four would reach
# by chance.
CHRONOLOGICAL_RULE = GainRule(
    margin_nats=0.0,
    per="token",
    p_below=0.25,
    source="openai/parameter-golf PR #1902: better than the row before it in time at p < 0.25",
)


_UNDEFINED: Mapping[str, Any] = {"t": None, "df": None, "p": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Result of a test. gain_nats: base mean - candidate mean, positive if the candidate is better.

    t, df, p and the two-sided 95 % interval low_nats … high_nats are None if the test is undefined: a side (or the
    pairs) has a single seed, or nothing varies. gains: of the pairs, in a paired test.
    """

    test: Literal["welch", "paired"]
    candidate: SeedSummary
    base: SeedSummary
    gain_nats: float
    rule: GainRule
    t: float | None
    df: float | None
    p: float | None
    low_nats: float | None = None
    high_nats: float | None = None
    gains: SeedSummary | None = None

    @property
    def passes(self) -> bool | None:
        """Whether p is below the rule's level; None without a p."""
        return None if self.p is None else self.p < self.rule.p_below


def compare_welch(
    candidate_nats: Iterable[float], base_nats: Iterable[float], *, rule: GainRule = RECORD_RULE
) -> Comparison:
    """Welch's test that the candidate's mean loss is below the base's by more than the rule's margin.

    Seeds are independent, variances may differ. Raises DataError if a side has no value or one that is not finite.
    Source: Welch 1947; degrees of freedom by Welch and Satterthwaite.
    """
    candidate, base = summarize(candidate_nats), summarize(base_nats)
    gain_nats = base.mean - candidate.mean
    student = _UNDEFINED
    if candidate.std is not None and base.std is not None:
        candidate_var, base_var = candidate.std**2 / candidate.n, base.std**2 / base.n
        if (variance := candidate_var + base_var) > 0:
            # Ratios, not fourth powers: those underflow for seeds that agree to 80 digits or more.
            share = candidate_var / variance
            df = 1 / (share**2 / (candidate.n - 1) + (1 - share) ** 2 / (base.n - 1))
            student = _student(gain_nats, math.sqrt(variance), df, rule)
    return Comparison(test="welch", candidate=candidate, base=base, gain_nats=gain_nats, rule=rule, **student)


def compare_paired(
    candidate_nats: Mapping[int, float], base_nats: Mapping[int, float], *, rule: GainRule = RECORD_RULE
) -> Comparison:
    """Student's paired test of the same claim. candidate_nats, base_nats: seed -> loss.

    For two scorers of the same trained networks, where the spread between seeds would hide the gain. Raises DataError
    unless both sides have the same seeds.
    """
    unmatched = sorted(candidate_nats.keys() ^ base_nats.keys())
    if unmatched:
        raise DataError(
            f"{len(candidate_nats)} candidate and {len(base_nats)} base seeds, of which {_listed(unmatched)} "
            "are on one side only; a paired test needs the same seeds on both: run the missing ones, "
            "or use Welch's test"
        )
    seeds = sorted(candidate_nats)
    candidate, base = summarize(candidate_nats.values()), summarize(base_nats.values())
    gains = summarize(base_nats[seed] - candidate_nats[seed] for seed in seeds)
    student = _UNDEFINED
    if gains.std is not None and gains.std > 0:
        student = _student(gains.mean, gains.std / math.sqrt(gains.n), float(gains.n - 1), rule)
    return Comparison(
        test="paired", candidate=candidate, base=base, gain_nats=gains.mean, rule=rule, gains=gains, **student
    )


def _listed(seeds: list[int]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def _student(gain_nats: float, error_nats: float, df: float, rule: GainRule) -> Mapping[str, float]:
    """t, df and the one-sided p that the gain exceeds the margin, and the two-sided 95 % interval of the gain."""
    from scipy.special import stdtrit

    t = (rule.margin_nats - gain_nats) / error_nats
    half_nats = float(stdtrit(df, 0.975)) * error_nats
    interval = {"low_nats": gain_nats - half_nats, "high_nats": gain_nats + half_nats}
    return {"t": t, "df": df, "p": _student_cdf(t, df), **interval}


def _student_cdf(t: float, df: float) -> float:
    """Probability that Student's t with `df` degrees of freedom is at most `t`."""
    # Imported lazily: scipy takes half a second (scipy.stats a whole one), and most commands compare nothing.
    from scipy.special import stdtr

    return float(stdtr(df, t))
