"""The answer of a comparison in one sentence."""

from pgolf.compare.comparison import Gain
from pgolf.stats.seeds_needed import POWER


def sentence(gain: Gain) -> str:
    """Who is better, by how much, how sure that is and over how many seeds; what is not known is said."""
    test, rule = gain.over_seeds, gain.rule
    said = f"{gain.candidate.name} {_verdict(gain)} {gain.base.name}"
    amount = f"by {abs(test.gain_nats):.4f} {rule.unit}"
    if test.gain_nats == 0:
        said, amount = f"{gain.candidate.name} equals {gain.base.name}", f"at 0.0000 {rule.unit}"
    network = f"; compared by the network alone: {gain.base.network}" if gain.base.network else ""
    return f"{said} {amount}{_interval(gain)}, {_probability(gain)}{network}"


def _verdict(gain: Gain) -> str:
    if gain.over_seeds.gain_nats < 0:
        return "is behind"
    return "is better than" if gain.passes else "is ahead of"


def _interval(gain: Gain) -> str:
    test = gain.over_seeds
    gained = "gain, " if test.gain_nats < 0 else ""  # so that its signs are not taken for those of the amount
    if test.low_nats is not None and test.high_nats is not None:
        return f" ({gained}95 % {_number(test.low_nats)} … {_number(test.high_nats)})"
    if gain.documents is not None and gain.documents.low_nats < gain.documents.high_nats:
        interval = f"{_number(gain.documents.low_nats)} … {_number(gain.documents.high_nats)}"
        return f" ({gained}95 % over documents {interval})"
    return ""


def _number(value: float) -> str:
    return f"{value:.4f}".replace("-", "−")


def _probability(gain: Gain) -> str:
    ours, theirs = gain.seeds
    said = gain.candidate.n, gain.base.n
    n = f"n = {said[0]}" if said[0] == said[1] else f"n = {said[0]} and {said[1]}"
    if gain.p_value is None:
        if min(ours, theirs) == 1:
            return f"{n}: one seed says nothing of others; run more (--seeds){_hindsight(gain)}"
        return f"{n}: all seeds have the same gain, so no test over them is defined{_hindsight(gain)}"
    claim = f"p(gain > {gain.rule.margin_nats:g}) = {gain.p_value:.2g}"
    if gain.arms > 1:
        claim += f" (Holm, {gain.arms} comparisons)"
    if gain.passes is not False or gain.over_seeds.gain_nats < 0:
        return f"{claim}, {n}{_hindsight(gain)}"
    return f"{claim}, {n}: not shown at p < {gain.rule.p_below:g}{_more(gain)}"


def _hindsight(gain: Gain) -> str:
    """What is held against the side in front where its scorer may have been chosen by its score.

    Against the side behind nothing: another choice of its scorer would put it further behind.
    """
    ahead = gain.base if gain.over_seeds.gain_nats < 0 else gain.candidate
    return f"; but {ahead.scorer} of {ahead.name} {ahead.late}, and may have been chosen by them" if ahead.late else ""


def _more(gain: Gain) -> str:
    test = gain.over_seeds
    if test.gain_nats <= gain.rule.margin_nats:
        if gain.rule.margin_nats == 0:
            return ""
        return f"; the gain is within the margin of {gain.rule.margin_nats:g}, which more seeds do not change"
    wanted = gain.seeds_wanted
    if wanted is None:
        return "; a gain as small as this one would take more than 1,000 seeds"
    more = max(0, wanted - min(gain.seeds))
    if more == 0:
        return "; as many seeds again may show it"
    return f"; a gain as large would be shown by {wanted} seeds a side, {more} more ({POWER:.0%} of the time)"
