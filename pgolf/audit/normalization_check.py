"""B3: after any beginning of a text, the probabilities of all tokens sum to 1."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from pgolf.audit.noise import OF_TOTAL, OF_TOTAL_IN_FLOAT64, TELLING_NATS, TIMES_THE_LARGEST
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Losses
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, passed

# Roundings and noise are independent from token to token and as often up as down. By Hoeffding's inequality the sum of
# roundings exceeds this many times the root of their squares' sum once in 10^5 at most; noise of a known deviation
# exceeds it less often.
_TIMES_THE_ROOT = 5.0
# Texts that repeat themselves: a phrase of so many tokens over and over, and so small a part of the text.
_PHRASE, _PARTS = 12, 16
# Where half of the totals are this near to 1, everything is computed in float64.
_IN_FLOAT64 = 1e-11


@dataclass(frozen=True, slots=True)
class _Total:
    """The probabilities of all tokens at a target. over: their sum, less 1. tolerance: what rounding and noise may add
    to it at most. square: the sum of the squares of what they are likely to add token by token."""

    target: int
    kind: str
    over: float
    tolerance: float
    square: float

    @property
    def where(self) -> str:
        return f"at target {self.target:,} ({self.kind})"


def find(trial: Trial) -> Finding:
    """Score every token of the vocabulary as the next, at targets of every kind."""
    V = trial.text.vocab_size
    count = trial.affordable(trial.effort.enumerated(V), V)
    if count == 0:
        return inconclusive(
            f"all {V:,} tokens at one target take as many starts of the program, and {trial.effort.starts:,} are "
            "allowed; B4 tries the likeliest",
            'a program that offers "distribution" or "mark", or --thorough where it starts quickly',
        )
    chosen = trial.spread_targets(count, trial.rng("B3"))
    totals = []
    told = _told_besides(trial, chosen)
    kinds = chosen | told
    for target, losses_V in chain(trial.enumerated_in_order(list(chosen)), trial.told_in_order(told) if told else ()):
        total = _total(trial, target, kinds[target], losses_V)
        if _is_no_distribution(trial, total.over, total.tolerance):
            return _no_distribution(trial, total, total.tolerance)
        first_N, tried_N = trial.base, trial.base.copy()
        tried_N[target - 1] = losses_V[trial.tries == trial.text.tokens[target]][0]
        off = float(trial.off(tried_N).max())
        if off > TIMES_THE_LARGEST * trial.division_nats:
            return failed(
                f"{total.where} the text's own token had a loss of {first_N[target - 1]:.6f} nats in the whole text "
                f"and {tried_N[target - 1]:.6f} where each token was tried: what was tried is not what is scored",
                Evidence(what=f"two answers {total.where}", target=target, values={"off_nats": off}),
            )
        totals.append(total)
    for target, losses_V in _where_text_repeats(trial):
        total = _total(trial, target, "of a text that repeats itself", losses_V)
        if _is_no_distribution(trial, total.over, total.tolerance):
            return _no_distribution(trial, total, total.tolerance)
        totals.append(total)
    return _of_all(trial, totals)


def _told_besides(trial: Trial, chosen: Mapping[int, str]) -> dict[int, str]:
    """Further targets, each with its kind, at which the sum takes one question: a scorer that tells distributions is
    asked at as many as B4 screens, since one that breaks its sum at a target in twenty is honest at a dozen half of the
    time."""
    if not trial.tells_distributions:
        return {}
    more = trial.spread_targets(trial.effort.screened, trial.rng("B3 told"))
    return {target: kind for target, kind in more.items() if target not in chosen}


def _where_text_repeats(trial: Trial) -> Iterator[tuple[int, Losses]]:
    """Each of some targets with the loss of every token there, where the last few tokens have stood there before.

    What counts n-grams gives no probability to them before it has seen their beginning, twice or more often; in a short
    text that is seldom, and a cheat that waits for it would not show. A text that says the same over and over is one
    like any other.
    """
    N, alone = trial.text.targets, trial.apart and not trial.tells_distributions
    if trial.knows_lengths or alone:
        return  # known lengths are of this text; a program would be started for each token
    for phrase in sorted({_PHRASE, N // _PARTS}):
        if not 1 < phrase <= N // 4:
            continue
        tokens = trial.text.tokens.copy()
        tokens[1:] = np.resize(tokens[1 : phrase + 1], N)
        rng = trial.rng(f"B3 {phrase}")
        late = rng.permutation(np.arange(N - N // 4, N + 1))
        chosen = np.sort(late[: max(1, trial.effort.repeating // 2)]).tolist()
        if trial.foretells:
            yield from zip(chosen, trial.foretold(tokens, chosen))
        else:
            yield from ((target, trial.told(tokens, target)) for target in chosen)


def _total(trial: Trial, target: int, kind: str, losses_V: Losses) -> _Total:
    p_V, rounding_V, noise = np.exp(-losses_V), trial.precision.rounding_nats(losses_V), trial.noise
    likely_V = p_V * np.expm1(rounding_V + noise.deviation_nats)
    return _Total(
        target=target,
        kind=kind,
        over=float(p_V.sum()) - 1,
        tolerance=trial.precision.mass_tolerance(losses_V, noise),
        square=float((likely_V**2).sum()),
    )


def _of_all(trial: Trial, totals: list[_Total]) -> Finding:
    """What the totals come to that are each near enough to 1."""
    if not totals:
        return inconclusive("no target at which another token could stand", "a text of more than document starts")
    over_T = np.array([total.over for total in totals])
    largest = totals[int(np.argmax(np.abs(over_T)))]
    exact = trial.precision.is_finest and trial.noise.largest_nats == 0
    if (
        exact
        and np.median(np.abs(over_T)) < _IN_FLOAT64
        and _is_no_distribution(trial, largest.over, OF_TOTAL_IN_FLOAT64)
    ):
        return _no_distribution(trial, largest, OF_TOTAL_IN_FLOAT64)
    mean = float(over_T.mean())
    # Noise that is added to losses makes the mean of exp(-loss) larger by half its variance.
    bias = trial.noise.deviation_nats**2
    tolerance = OF_TOTAL + bias + _TIMES_THE_ROOT * math.sqrt(sum(total.square for total in totals)) / len(totals)
    kinds = len({total.kind for total in totals})
    seen = f"{len(totals)} targets of {kinds} kinds, all {len(trial.tries):,} tokens each"
    if _is_no_distribution(trial, mean, tolerance):
        return failed(
            f"{seen}: the sums are {1 + mean:.6f} in the mean, further from 1 than rounding and noise explain "
            f"({tolerance:.1g})",
            Evidence(what="mean of total masses", values={"mass": 1 + mean, "tolerance": tolerance}),
        )
    if tolerance > TELLING_NATS:
        return inconclusive(
            f"{seen}: the sums are {1 + mean:.6f} in the mean, and rounding ({trial.precision.name}) and noise "
            f"({trial.noise}) hide up to {tolerance:.2g}",
            "more targets (--thorough), losses in float32, or a fixed seed",
        )
    return passed(
        f"{seen}: each sum is 1 within {abs(largest.over):.1e}, their mean within {abs(mean):.1e} (losses in "
        f"{trial.precision.name})"
    )


def _is_no_distribution(trial: Trial, over: float, tolerance: float) -> bool:
    """Where it is known that no document starts, what a scorer keeps for a start is lost to it, and no gain."""
    return over > tolerance or (over < -tolerance and not trial.knows_lengths)


def _no_distribution(trial: Trial, total: _Total, tolerance: float) -> Finding:
    why = (
        "more than there is, so no code has these lengths"
        if total.over > 0
        else "less than 1, so this is no distribution over the vocabulary"
    )
    own_nats = float(trial.base[total.target - 1])
    return failed(
        f"the probabilities of all {len(trial.tries):,} tokens {total.where} sum to {1 + total.over:.6g}: {why}",
        Evidence(
            what=f"total mass {total.where}",
            target=total.target,
            values={"mass": 1 + total.over, "tolerance": tolerance, "loss_nats": own_nats},
        ),
    )


CHECK = RuleCheck(
    number="B3",
    name="normalization",
    rule="C2: a full distribution over the vocabulary, fixed before the target is seen (#1017, #779)",
    find=find,
)
