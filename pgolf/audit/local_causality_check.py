"""B2: the same inside windows, chunks, batches and documents, where a look ahead is short."""

import math

import numpy as np

from pgolf.audit.audit_text import Replacement
from pgolf.audit.causality_check import beyond_noise, widest_replacement, without_restarts
from pgolf.audit.likely_cuts import likely_cuts
from pgolf.audit.noise import reordered_nats
from pgolf.audit.replaced_future import change_before, smallest_change, text_before
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed

# For runs whose means are drawn from a normal distribution: once in 10^7, with the deviation estimated from 24 runs.
_DEVIATIONS = 7.0
_RUNS = 48


def find(trial: Trial) -> Finding:
    """Replace everything after each of many cuts."""
    if trial.apart:
        return without_restarts(trial)
    cuts, how = likely_cuts(trial)[: trial.effort.cuts], widest_replacement(trial)
    for scored in cuts:
        if (change := change_before(trial, scored, how)) is not None:
            least = smallest_change(trial, change, how)
            return failed(str(least), least.evidence())
    if trial.noise.largest_nats > 0 and (finding := _in_the_mean(trial, cuts, how)) is not None:
        return finding
    share = len(cuts) / max(1, trial.text.targets - 1)
    return beyond_noise(trial, f"{len(cuts):,} cuts, {share:.0%} of all there are: no loss before a cut changed")


def _in_the_mean(trial: Trial, cuts: list[int], how: Replacement) -> Finding | None:
    """Whether the first half costs less in the mean where the true text follows: noise that hides a leak at each target
    does not hide it in all.

    Under the rule a run over the text and a run over one whose second half is another are alike, whatever the noise and
    however it depends from target to target, so their means over the first half are draws from one distribution.
    """
    half = trial.text.targets // 2
    first_half = trial.places < half
    behind = [cut for cut in cuts if cut >= half][:_RUNS]
    if len(behind) < 8 or not first_half.any():
        return None
    others = np.array([trial.losses(text_before(trial, cut, how))[first_half].mean() for cut in behind])
    own = np.array([trial.ask(trial.text.tokens)[first_half].mean() for _ in range(_RUNS // 2)])
    deviation = max(float(others.std(ddof=1)), float(own.std(ddof=1)))
    apart = float(others.mean() - own.mean())
    rounding = float(reordered_nats(trial.base[first_half]).mean())
    if abs(apart) <= rounding + _DEVIATIONS * deviation * math.sqrt(1 / len(own) + 1 / len(others)):
        return None
    return failed(
        f"the first half costs {own.mean():.5f} nats a target in {len(own)} runs over the text, and "
        f"{others.mean():.5f} in {len(others)} over texts that begin alike and go on otherwise: further apart than "
        f"the runs among themselves ({deviation:.1g})",
        Evidence(what="means of the first half", values={"apart_nats": apart, "deviation_nats": deviation}),
    )


CHECK = RuleCheck(
    number="B2",
    name="local causality",
    rule="C1 at the ends of windows, chunks, batches and documents (#1017; SLOT: #1176, #1229)",
    find=find,
)
