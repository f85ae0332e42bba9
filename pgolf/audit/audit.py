"""All checks over one subject, and what they come to."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pgolf.audit import (
    causality_check,
    cold_start_check,
    coverage_check,
    decodability_check,
    determinism_check,
    document_rule_check,
    drip_feed_check,
    local_causality_check,
    normalization_check,
    overlap_check,
    partial_sums_check,
    single_pass_check,
    target_blind_check,
    text_bytes_check,
)
from pgolf.audit.audit_text import AuditText
from pgolf.audit.effort import DEFAULT, Effort
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Apart, ScorerFault
from pgolf.audit.subject import Subject
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Cost, Evidence, Finding, Outcome, Verdict, failed, inconclusive, passed

CHECKS: tuple[RuleCheck, ...] = tuple(
    module.CHECK
    for module in (
        causality_check,
        local_causality_check,
        normalization_check,
        partial_sums_check,
        target_blind_check,
        drip_feed_check,
        single_pass_check,
        decodability_check,
        cold_start_check,
        document_rule_check,
        determinism_check,
        text_bytes_check,
        coverage_check,
        overlap_check,
    )
)

_CONDUCT = RuleCheck(
    number="B0",
    name="conduct",
    rule="every question is answered: one finite loss, not below 0, for every target, in time",
    find=lambda trial: _conduct(trial),
)

Listener = Callable[[Verdict], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The verdicts about one subject, the conduct first, and what was asked for them."""

    name: str
    verdicts: tuple[Verdict, ...]
    targets: int
    vocab_size: int
    seed: int

    def of(self, outcome: Outcome) -> tuple[Verdict, ...]:
        """Those with this outcome."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome == outcome)

    @property
    def outcome(self) -> Outcome:
        """fail if any check fails, else inconclusive if any is, else pass."""
        return "fail" if self.of("fail") else "inconclusive" if self.of("inconclusive") else "pass"


def audit(
    subject: Subject,
    text: AuditText,
    *,
    effort: Effort = DEFAULT,
    seed: int = 0,
    checks: Sequence[RuleCheck] = CHECKS,
    listen: Listener = lambda _verdict: None,
) -> Audit:
    """Try a subject on a text. Whatever the scorer does ends in a verdict; no exception of it comes through."""
    trial = Trial(subject, text, effort=effort, seed=seed)
    # A copy answers about tokens that nobody can know before any has heard the text: what is left for later ones, in a
    # file or in the process, is not the text then. The text as it is comes next: what is ranked is what a scorer says
    # when it has been asked nothing yet.
    with suppress(ScorerFault):
        if subject.fresh is not None:
            _ = trial.drawn
    with suppress(ScorerFault):
        _ = trial.noise
    verdicts = []
    for check in checks:
        verdicts.append(_verdict(check, trial))
        listen(verdicts[-1])
    conduct = _verdict(_CONDUCT, trial)
    listen(conduct)
    return Audit(
        name=subject.name,
        verdicts=(conduct, *verdicts),
        targets=text.targets,
        vocab_size=text.vocab_size,
        seed=seed,
    )


def _verdict(check: RuleCheck, trial: Trial) -> Verdict:
    began_s, calls, targets = time.perf_counter(), trial.calls, trial.targets
    try:
        finding = check.find(trial)
        if finding.outcome == "fail" and trial.look_again():
            finding = check.find(trial)
    except ScorerFault as fault:
        finding = inconclusive(f"the scorer gave no answer: {fault}", "a scorer that answers (see B0)")
    cost = Cost(calls=trial.calls - calls, targets=trial.targets - targets, wall_s=time.perf_counter() - began_s)
    return Verdict(number=check.number, name=check.name, rule=check.rule, finding=finding, cost=cost)


def _conduct(trial: Trial) -> Finding:
    besides = trial.scorer.conduct if isinstance(trial.scorer, Apart) else ()
    faults = [*trial.faults, *besides]
    if not faults:
        ran = f", in {trial.scorer.isolation}" if isinstance(trial.scorer, Apart) else ""
        return passed(f"{trial.calls:,} evaluations{ran}, every answer was one finite loss per target")
    kinds = ", ".join(dict.fromkeys(fault.kind for fault in faults))
    evidence = [Evidence(what=f"{one.kind}: {one}", target=one.target) for one in faults[:8]]
    return failed(
        f"the scorer {faults[0]} ({len(faults):,} such things in {trial.calls:,} evaluations: {kinds})", *evidence
    )
