"""B2: the same inside windows, chunks, batches and documents, where a look ahead is short."""

from pgolf.audit.causality_check import beyond_noise, without_restarts
from pgolf.audit.likely_cuts import likely_cuts
from pgolf.audit.replaced_future import change_before, smallest_change
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Finding, failed


def find(trial: Trial) -> Finding:
    """Replace everything after each of many cuts."""
    if trial.apart:
        return without_restarts(trial)
    cuts = likely_cuts(trial)[: trial.effort.cuts]
    for scored in cuts:
        if (change := change_before(trial, scored, "random tokens")) is not None:
            least = smallest_change(trial, change, "random tokens")
            return failed(str(least), least.evidence())
    share = len(cuts) / max(1, trial.text.targets - 1)
    return beyond_noise(trial, f"{len(cuts):,} cuts, {share:.0%} of all there are: no loss before a cut changed")


CHECK = RuleCheck(
    number="B2",
    name="local causality",
    rule="C1 at the ends of windows, chunks, batches and documents (#1017; SLOT: #1176, #1229)",
    find=find,
)
