"""B16: what is reported is the whole text, and the losses that were scored."""

from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, not_applicable, passed

# A mean loss is reported to so many digits or more, half a unit of the last one either way.
_MOST_OFF_NATS = 0.5e-4


def find(trial: Trial) -> Finding:
    """Compare the number of targets and the sum of their losses with what the scorer answers."""
    reported, N, seen = trial.subject.reported, trial.text.targets, list[str]()
    if reported is None or (reported.targets is None and reported.loss_sum_nats is None):
        return not_applicable("neither targets nor losses were reported")
    if reported.targets is not None:
        if reported.targets != N:
            return failed(
                f"{reported.targets:,} targets are reported, and the text has {N:,}",
                Evidence(what="targets", values={"reported": reported.targets, "text": N}),
            )
        seen.append(f"all {N:,} targets")
    if reported.loss_sum_nats is not None:
        scored, runs = float(trial.base.sum()), trial.runs
        noise = 3 * max(abs(float(run.sum()) - scored) for run in runs)
        off = abs(reported.loss_sum_nats - scored)
        if off > noise + _MOST_OFF_NATS * N:
            return failed(
                f"losses of {reported.loss_sum_nats:.3f} nats in total are reported, and {scored:.3f} are scored",
                Evidence(what="sum of losses", values={"reported_nats": reported.loss_sum_nats, "scored_nats": scored}),
            )
        seen.append(f"{scored:.3f} nats in total, as they are scored")
    return passed(", ".join(seen))


CHECK = RuleCheck(
    number="B16",
    name="coverage",
    rule="the whole validation set is scored, and what is reported is that score (#1785, #1854, #2118)",
    find=find,
)
