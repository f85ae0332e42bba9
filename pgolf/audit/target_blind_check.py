"""B5: the distribution that a scorer tells before it sees a target is the one that the target is scored by."""

from collections.abc import Mapping

import numpy as np

from pgolf.audit.noise import TIMES_THE_LARGEST
from pgolf.audit.rule_check import RuleCheck
from pgolf.audit.scorer import Session
from pgolf.audit.strata import spread_over, strata
from pgolf.audit.trial import Trial
from pgolf.audit.verdict import Evidence, Finding, failed, not_applicable, passed


def find(trial: Trial) -> Finding:
    """Ask for the distribution, then score tokens, the likeliest and random ones, and compare."""
    if not trial.tells_distributions:
        return not_applicable("the scorer tells no distribution; B3 scores every token instead")
    chunk = trial.subject.declared.chunk_targets
    rng = trial.rng("B5")
    chosen = dict(spread_over(strata(trial.text, trial.base, chunk), trial.effort.screened, rng))
    with trial.evaluation() as session:
        return _compared(trial, session, chosen, rng)


def _compared(trial: Trial, session: Session, chosen: Mapping[int, str], rng: np.random.Generator) -> Finding:
    fed, largest = 0, 0.0
    for target in sorted(chosen):
        if target - 1 > fed:
            trial.feed(session, trial.text.tokens[fed + 1 : target])
            fed = target - 1
        told_V = trial.distribution(session)
        own = int(trial.text.tokens[target])
        some = np.unique([own, *np.argsort(told_V)[:3], *rng.integers(len(told_V), size=3)]).astype(np.uint16)
        if not trial.apart:
            scored = trial.candidate_losses(target, some)
        elif trial.forks:
            scored = trial.next_losses(session, some)
        else:  # one token can be tried without another start: the one that comes
            some, fed = trial.text.tokens[target : target + 1], target
            scored = trial.feed(session, some)
        off = np.abs(scored - told_V[some])
        allowed = trial.noise.tolerance_nats + TIMES_THE_LARGEST * trial.division_nats
        tolerance = allowed + 2.0 ** (2 - trial.precision.bits) * np.maximum(1.0, scored)
        worst = int(np.argmax(off - tolerance))
        if off[worst] > tolerance[worst]:
            token = int(some[worst])
            return failed(
                f"before target {target:,} ({chosen[target]}) the scorer told {told_V[token]:.6f} nats for token "
                f"{token}, and as the target it cost {scored[worst]:.6f}",
                Evidence(what="told and scored", target=target, values={"off_nats": float(off[worst])}),
            )
        largest = max(largest, float(off.max()))
    return passed(f"{len(chosen)} targets: what was told and what was scored differ by {largest:.1e} nats at most")


CHECK = RuleCheck(
    number="B5",
    name="target-blind",
    rule="C1, C2: no weight and no branch sees the target (#1145, #1420, #659)",
    find=find,
)
