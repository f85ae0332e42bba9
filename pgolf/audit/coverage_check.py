"""B16: what is reported is the whole text, and the losses that were scored."""

from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, inconclusive, not_applicable, passed


def find(trial: Trial) -> Finding:
    """Compare the number of targets and the sum of their losses with what the scorer answers."""
    reported, whole, seen = trial.subject.reported, trial.subject.whole, list[str]()
    N = trial.text.targets if whole is None else whole.targets
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
        if whole is not None and whole.loss_sum_nats is None:
            return inconclusive(
                f"{reported.loss_sum_nats / N:.4f} nats per target are reported of {N:,} targets, and {whole.lack}",
                "all of the text scored (--whole-text)",
            )
        of_text, runs = float(trial.base.sum()), trial.runs
        noise = 3 * max(abs(float(run.sum()) - of_text) for run in runs)
        scored = of_text
        if whole is not None and whole.loss_sum_nats is not None:
            # As noisy target by target as the text of the trial.
            scored, noise = whole.loss_sum_nats, noise * N / trial.text.targets
        off = abs(reported.loss_sum_nats - scored)
        if off > noise + reported.off_nats * N:
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
